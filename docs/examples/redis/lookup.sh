#!/bin/sh
# lookup.sh MEMBER [URL]: by hand, one command after another. Services read everything in one round trip.
set -eu
member=$1 url=${2:-redis://127.0.0.1:6379/0}
redis() { redis-cli -u "$url" --no-auth-warning "$@"; }

epoch=$(redis GET 'ms:{meta}:epoch')
pos=$(redis HGET "ms:member:$member" pos)
case $pos in *:gone) pos= ;; esac
partition=${pos#*:} partition=${partition%%:*}
beacon=$(redis HGET 'ms:{meta}:beacons' "${partition:-none}")
now=$(date +%s%3N)

status=current
if [ -z "$epoch" ] || [ "$epoch" != "$(redis GET 'ms:{meta}:epoch')" ]; then
  status=rebuilding
elif [ -z "$pos" ]; then
  status='unknown member'
elif redis HGETALL 'ms:{meta}:live' | paste -d@ - - | while read -r field; do
  [ -n "$(redis HGET "ms:member:$member" "$field")" ] || echo "$field"
done | grep -q .; then
  status=rebuilding
elif [ -z "$beacon" ]; then
  status=stale
else
  clock=${beacon#*:} clock=${clock%:*} age=$((now - ${beacon##*:})) valid_until=${pos##*:}
  [ "$age" -ge 0 ] || age=0
  if [ "$age" -gt 30000 ] || { [ -n "$valid_until" ] && [ "$valid_until" -le $((clock + age)) ]; }; then
    status=stale
  fi
fi
echo "status: $status"
[ -n "$pos" ] || exit 0
offset=${pos#*:*:}
echo "position: $partition:${offset%%:*}"
redis HGETALL 'ms:{meta}:live' | paste - - | LC_ALL=C sort | while read -r model version; do
  value=$(redis HGET "ms:member:$member" "$model@$version")
  [ -z "$value" ] || echo "$model@$version: ${value%%:*} since ${value#*:}"
done
