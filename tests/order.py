"""Which tests start first: those that take longest, for a long one that starts last costs its whole length.

xdist's worksteal gives each process an equal run of the list, and takes from the end of it what another one has time
for. So the long ones stand at the head of each run, dealt out so that all heads take about as long.
"""

from __future__ import annotations

import os
from collections import defaultdict

import pytest

# A file whose tests share what is costly to set up, or a test → its seconds, in a run of everything on two cores.
SECONDS = {
    "chaos/test_cluster_of_brokers.py": 400,
    "chaos/test_soak.py": 290,
    "chaos/test_rounds.py": 150,
    "chaos/test_second_oracle.py": 150,
    "e2e/test_interactions.py::test_counts_are_exact_under_many_kills": 130,
    "e2e/test_midnights.py": 130,
    "chaos/test_upgrade.py": 110,
    "chaos/test_kafka_outage.py::test_a_broker_gone_for_a_minute_is_waited_for": 105,
    "e2e/test_tutorial.py": 100,
    "demo/test_training.py": 90,
    "e2e/test_heavy_candidate.py": 80,
    "chaos/test_stop.py": 70,
    "chaos/test_rolling_restart.py": 80,
    "e2e/test_disaster.py": 60,
    "chaos/test_standby.py::test_partitions_go_back_and_forth_between_workers_that_keep_their_disks": 70,
    "chaos/test_kafka_outage.py::test_a_broker_that_goes_while_state_is_recovered": 60,
    "e2e/test_interaction_takeover.py": 60,
    "e2e/test_stuck.py::test_what_is_named_can_be_done_also_when_topics_have_changed_meanwhile": 60,
    "e2e/test_health.py::test_a_stalled_worker_says_so_and_ends": 40,
    "e2e/test_doctor.py": 45,
    "e2e/test_timers.py": 40,
    "e2e/test_console.py": 55,
    "e2e/test_tasks.py": 35,
    "e2e/test_loading.py": 25,
    "e2e/test_resending.py": 25,
}


def longest_first(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests so that the runs of this many processes begin with what takes longest."""
    long, rest = defaultdict[str, list[pytest.Item]](list), list[pytest.Item]()
    for item in items:
        file = "/".join(item.path.parts[-2:])
        name = item.name.partition("[")[0]  # all its cases
        key = next((key for key in (file, f"{file}::{name}") if key in SECONDS), None)
        (rest if key is None else long[key]).append(item)
    heads = deal({key: SECONDS[key] for key in long}, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    ordered: list[pytest.Item] = []
    for n, head in enumerate(heads):
        run = [item for key in head for item in long[key]]
        size = (len(items) - len(ordered)) // (len(heads) - n)
        taken = max(0, size - len(run))
        ordered += run + rest[:taken]
        del rest[:taken]
    return ordered + rest


def deal(seconds: dict[str, int], n: int) -> list[list[str]]:
    """Deal the keys out to n hands, each to the hand that has the fewest seconds, the longest first."""
    hands: list[list[str]] = [[] for _ in range(n)]
    for key in sorted(seconds, key=lambda key: -seconds[key]):
        min(hands, key=lambda hand: sum(seconds[other] for other in hand)).append(key)
    return hands
