// lookup MEMBER [URL]: one round trip. go-redis v9. A service keeps one client for the whole process.
package main

import (
	"context"
	"encoding/json"
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

// What one round trip finds; newest: the greatest written_ms of all beacons.
type found struct {
	status, pos string
	held, live  map[string]string
	newest      int64
}

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

	// Who isn't there may only be missing, until a beacon has moved since the connection was made.
	it := look(client, member, 0)
	first := it.newest
	for tries := 0; tries < 25 && it.status == "unknown member" && it.newest == first; tries++ {
		time.Sleep(100 * time.Millisecond)
		it = look(client, member, first)
	}
	if it.status == "unknown member" && it.newest == first {
		it.status = "rebuilding"
	}
	fmt.Println("status:", it.status)
	if it.pos != "" {
		position := strings.Split(it.pos, ":")
		fmt.Printf("position: %s:%s\n", position[1], position[2])
	}
	var lines []string
	for model, version := range it.live {
		field := model + "@" + version
		if value, ok := it.held[field]; ok {
			cluster, since, _ := strings.Cut(value, ":")
			lines = append(lines, fmt.Sprintf("%s: %s since %s", field, cluster, since))
		}
	}
	sort.Strings(lines)
	for _, line := range lines {
		fmt.Println(line)
	}
}

func look(client *redis.Client, member string, newestBefore int64) found {
	ctx, pipe := context.Background(), client.Pipeline()
	before := pipe.Get(ctx, "ms:{meta}:epoch")
	live := pipe.HGetAll(ctx, "ms:{meta}:live")
	models := pipe.HGetAll(ctx, "ms:{meta}:models")
	beacons := pipe.HGetAll(ctx, "ms:{meta}:beacons")
	members := pipe.MGet(ctx, "ms:{meta}:epoch", "ms:member:"+member)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		log.Fatal(err)
	}

	epoch, _ := members.Val()[0].(string) // nil: there is none
	row, _ := members.Val()[1].(string)
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
	var newest int64
	for _, beacon := range beacons.Val() {
		newest = max(newest, number(strings.Split(beacon, ":")[2]))
	}
	complete := before.Val() != "" && before.Val() == epoch && newest >= newestBefore
	listed, scored := false, true
	for model, version := range live.Val() {
		field := model + "@" + version
		_, ok := held[field]
		var described struct{ Type string }
		if text := models.Val()[field]; text != "" {
			if err := json.Unmarshal([]byte(text), &described); err != nil {
				log.Fatal(err)
			}
		}
		if described.Type == "list" {
			listed = listed || ok
		} else {
			scored = scored && ok
		}
	}
	return found{status(complete, listed, scored, pos, beacons.Val()), pos, held, live.Val(), newest}
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
