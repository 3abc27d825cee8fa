#!/bin/sh
# visible.sh MEMBER [URL]: the campaigns that a member sees, each with its token, by hand. Needs jq.
set -eu
member=$1 url=${2:-redis://127.0.0.1:6379/0}
redis() { redis-cli -u "$url" --no-auth-warning "$@"; }
half() { printf %s "$1" | sha256sum | cut -c 1-8; }
draw() {
  x=$((0x$(half "$1") ^ 0x$(half "$2")))
  x=$(((x ^ x >> 16) * 0x85ebca6b & 0xffffffff))
  x=$(((x ^ x >> 13) * 0xc2b2ae35 & 0xffffffff))
  echo $((x ^ x >> 16))
}

now=$(date +%s%3N)
known=$(redis GET 'ms:{meta}:known')
row=$(redis GET "ms:member:$member")
where=$(echo "${row%%|*}" | cut -d : -f 2,3 | tr : -)
redis --json HGETALL 'ms:{meta}:campaigns' | jq -r 'to_entries[] | "\(.key)\t\(.value | fromjson | tojson)"' |
  LC_ALL=C sort | while IFS='	' read -r campaign json; do
  model=$(echo "$json" | jq -r .model)
  version=$(redis HGET 'ms:{meta}:live' "$model")
  membership=$(echo "$row" | tr '|' '\n' | sed -n "s/^$model@$version=//p")
  if [ -n "$membership" ] && echo "$json" | jq -e --argjson now "$now" --argjson cluster "${membership%%:*}" '
    .state == "enabled" and .from <= $now and (.until == null or $now < .until)
    and (.clusters | index($cluster) != null)' >/dev/null # in jq null is below every number
  then
    holdout=$(echo "$json" | jq .holdout) held=0
    [ $(($(draw "$campaign" "$member") * 10000)) -lt $((holdout << 32)) ] && held=1 && printf 'held out: '
    told="$version.${membership%%:*}.$held.$known.${where:--}"
    token="$told.$(half "$campaign $member $told")"
    [ -n "$known" ] || token='without a token' # Redis is being filled
    echo "$campaign $token"
  fi
done
