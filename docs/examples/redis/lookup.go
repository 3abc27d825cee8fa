// lookup MEMBER [URL]: one round trip. go-redis v9. A service keeps one client for the whole process.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

func main() {
	member, url := os.Args[1], "redis://127.0.0.1:6379/0"
	if len(os.Args) > 2 {
		url = os.Args[2]
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		log.Fatal(err)
	}
	options.DisableIdentity = true // CLIENT SETINFO is not among the reader's commands
	client := redis.NewClient(options)
	defer client.Close()

	ctx, pipe := context.Background(), client.Pipeline()
	before := pipe.Get(ctx, "ms:{meta}:epoch")
	live := pipe.HGetAll(ctx, "ms:{meta}:live")
	models := pipe.HGetAll(ctx, "ms:{meta}:models")
	beacons := pipe.HGetAll(ctx, "ms:{meta}:beacons")
	found := pipe.MGet(ctx, "ms:{meta}:epoch", "ms:member:"+member)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		log.Fatal(err)
	}

	epoch, _ := found.Val()[0].(string) // nil: there is none
	row, _ := found.Val()[1].(string)
	pos, memberships, _ := strings.Cut(row, "|")
	if strings.HasSuffix(pos, ":gone") {
		pos = ""
	}
	held := map[string]string{}
	for _, membership := range strings.Split(memberships, "|") {
		if field, value, ok := strings.Cut(membership, "="); ok {
			held[field] = value
		}
	}
	complete := before.Val() != "" && before.Val() == epoch
	listed, scored := false, true
	for model, version := range live.Val() {
		field := model + "@" + version
		_, ok := held[field]
		if strings.HasPrefix(models.Val()[field], `{"type":"list"`) {
			listed = listed || ok
		} else {
			scored = scored && ok
		}
	}
	fmt.Println("status:", status(complete, listed, scored, pos, beacons.Val()))
	if pos != "" {
		position := strings.Split(pos, ":")
		fmt.Printf("position: %s:%s\n", position[1], position[2])
	}
	var lines []string
	for model, version := range live.Val() {
		field := model + "@" + version
		if value, ok := held[field]; ok {
			cluster, since, _ := strings.Cut(value, ":")
			lines = append(lines, fmt.Sprintf("%s: %s since %s", field, cluster, since))
		}
	}
	sort.Strings(lines)
	for _, line := range lines {
		fmt.Println(line)
	}
}

func status(complete, listed, scored bool, pos string, beacons map[string]string) string {
	if !complete {
		return "rebuilding"
	}
	if pos == "" && listed {
		return "current"
	}
	if pos == "" {
		return "unknown member"
	}
	if !scored {
		return "rebuilding"
	}
	position := strings.Split(pos, ":") // epoch, partition, offset, as_of_ms, valid_until_ms
	beacon, ok := beacons[position[1]]
	if !ok {
		return "stale"
	}
	said := strings.Split(beacon, ":") // next_offset, clock_ms, written_ms
	age := max(0, time.Now().UnixMilli()-number(said[2]))
	if age > 30_000 || position[4] != "" && number(position[4]) <= number(said[1])+age {
		return "stale"
	}
	return "current"
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	return n
}
