#!/bin/sh
# lookup.sh MEMBER [URL]: by hand, one command after another. Services read everything in one round trip. Needs jq.
set -eu
member=$1 url=${2:-redis://127.0.0.1:6379/0}
redis() { redis-cli -u "$url" --no-auth-warning "$@"; }
newest() { redis HGETALL 'ms:{meta}:beacons' | sed -n 's/^[0-9]*:[0-9]*://p' | sort -n | tail -n 1; }
held() { echo "$row" | tr '|' '\n' | sed -n "s/^$1=//p"; }

look() {
  now_newest=$(newest)
  found=$(redis MGET 'ms:{meta}:epoch' "ms:member:$member")
  epoch=$(echo "$found" | sed -n 1p) row=$(echo "$found" | sed -n 2p)
  pos=${row%%|*}
  case $pos in *:gone) pos= ;; esac
  partition=${pos#*:} partition=${partition%%:*}
  beacon=$(redis HGET 'ms:{meta}:beacons' "${partition:-none}")
  now=$(date +%s%3N)
  fields=$(redis HGETALL 'ms:{meta}:live' | sed '/^$/d' | paste -d@ - - | LC_ALL=C sort)
  listed='' unscored=''
  for field in $fields; do
    value=$(held "$field")
    case $(redis HGET 'ms:{meta}:models' "$field" | jq -r .type) in
      list) listed=$listed$value ;;
      *) [ -n "$value" ] || unscored=$field ;;
    esac
  done
  status=current
  if [ -z "$epoch" ]; then
    status=rebuilding
  elif [ -z "$pos" ]; then
    [ -n "$listed" ] || status='unknown member'
  elif [ -n "$unscored" ]; then
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
}

# Who isn't there may only be missing, until a beacon has moved since the first look.
look
first=$now_newest until=$((now + 2500))
while [ "$status" = 'unknown member' ] && [ "${now_newest:-0}" -le "${first:-0}" ]; do
  sleep 0.1
  if [ "$now" -le "$until" ]; then look; else status=rebuilding; fi
done

echo "status: $status"
offset=${pos#*:*:}
[ -z "$pos" ] || echo "position: $partition:${offset%%:*}"
for field in $fields; do
  value=$(held "$field")
  [ -z "$value" ] || echo "$field: ${value%%:*} since ${value#*:}"
done
