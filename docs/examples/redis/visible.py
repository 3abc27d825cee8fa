"""visible.py MEMBER [URL]: the campaigns that a member sees, in one round trip, through memberstream's own client."""

import sys

from stream.lookup import Lookup

member = sys.argv[1]
url = sys.argv[2] if len(sys.argv) > 2 else "redis://127.0.0.1:6379/0"

with Lookup(url) as lookup:  # keep one for the whole process; threads may share it
    seen = lookup.visible(member)

for campaign in sorted(seen.campaigns + seen.held_out):
    print(f"held out: {campaign}" if campaign in seen.held_out else campaign)
