"""lookup.py MEMBER [URL]: one round trip through memberstream's own client."""

import sys

from memberstream import Lookup

member = sys.argv[1]
url = sys.argv[2] if len(sys.argv) > 2 else "redis://127.0.0.1:6379/0"

with Lookup(url) as lookup:  # keep one for the whole process; threads may share it
    answer = lookup.get_patiently(member)  # a service calls get, which doesn't wait

print(f"status: {answer.status}")
if answer.offset is not None:
    print(f"position: {answer.partition}:{answer.offset}")
for m in answer.memberships.values():
    print(f"{m.model}@{m.version}: {m.cluster} since {m.since_ms}")
