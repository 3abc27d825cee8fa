"""visible.py MEMBER [URL]: the campaigns that a member sees, each with its token, through memberstream's own client."""

import sys

from memberstream import Lookup

member = sys.argv[1]
url = sys.argv[2] if len(sys.argv) > 2 else "redis://127.0.0.1:6379/0"

with Lookup(url) as lookup:  # keep one for the whole process; threads may share it
    answer = lookup.get(member)  # one round trip

seen = answer.visible
for campaign in sorted(seen.campaigns + seen.held_out):
    print("held out: " * (campaign in seen.held_out) + campaign, answer.token(campaign) or "without a token")
