// visible MEMBER [URL]: the campaigns that a member sees, each with its token; one round trip. go-redis v9.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

type campaign struct {
	Model    string
	Clusters []int
	From     *int64
	Until    *int64
	Holdout  uint64
	State    string
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

	ctx, pipe := context.Background(), client.Pipeline()
	known := pipe.Get(ctx, "ms:{meta}:known")
	live := pipe.HGetAll(ctx, "ms:{meta}:live")
	campaigns := pipe.HGetAll(ctx, "ms:{meta}:campaigns") // a service keeps them until ms:{meta}:known changes
	row := pipe.Get(ctx, "ms:member:"+member)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		log.Fatal(err)
	}

	now, where := time.Now().UnixMilli(), "-"
	if pos := strings.Split(strings.Split(row.Val(), "|")[0], ":"); len(pos) > 2 {
		where = pos[1] + "-" + pos[2]
	}
	for _, id := range slices.Sorted(maps.Keys(campaigns.Val())) {
		var c campaign
		if err := json.Unmarshal([]byte(campaigns.Val()[id]), &c); err != nil {
			log.Fatal(err)
		}
		_, membership, found := strings.Cut(row.Val(), "|"+c.Model+"@"+live.Val()[c.Model]+"=")
		if !found || c.State != "enabled" || c.From != nil && now < *c.From || c.Until != nil && now >= *c.Until {
			continue
		}
		cluster, err := strconv.Atoi(strings.Split(membership, ":")[0])
		if err != nil {
			log.Fatal(err)
		}
		if !slices.Contains(c.Clusters, cluster) {
			continue
		}
		heldOut := 0
		if uint64(draw(id, member))*10_000 < c.Holdout<<32 {
			heldOut = 1
			fmt.Print("held out: ")
		}
		told := fmt.Sprintf("%s.%d.%d.%s.%s", live.Val()[c.Model], cluster, heldOut, known.Val(), where)
		if known.Val() == "" { // Redis is being filled
			fmt.Println(id, "without a token")
		} else {
			fmt.Printf("%s %s.%08x\n", id, told, half(id+" "+member+" "+told))
		}
	}
}

func draw(campaign, member string) uint32 {
	x := half(campaign) ^ half(member)
	x = (x ^ x>>16) * 0x85ebca6b
	x = (x ^ x>>13) * 0xc2b2ae35
	return x ^ x>>16
}

func half(text string) uint32 {
	sum := sha256.Sum256([]byte(text))
	return binary.BigEndian.Uint32(sum[:])
}
