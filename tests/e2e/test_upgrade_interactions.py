"""Two workers of interactions change their version, and back: what each version has counted stays as it is.

The version before counts by other rules, into other keys (docs/decisions/0041-counting-by-event-time.md). So each
version gets members of its own here, and neither may change the other's counts. Some members both handle.
"""

from __future__ import annotations

import pytest
from e2e.counting import CAMPAIGNS, IDS, T0, Counting, Load, clusters_of, counting, envelope, expected, load
from e2e.system import Install, Pair, Sent
from recount import DAY_MS, Shown
from releases import NOW, Release

from memberstream.models.old_counts import OldCell, OldTally
from memberstream.stream.projection.count_reader import read_old

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]

SHARED = IDS[:40]


def shared(step: int) -> list[Shown]:
    """Return what members do whom both versions handle: they meet two campaigns under this version, click on one under
    the version before, and are shown both once more."""
    days, clusters = {1: 4, 2: 8, 3: 11}, clusters_of()
    its = []
    for member in SHARED if step else ():
        other = "for-high" if clusters[member] == 2 else "some-low"
        for campaign in (other,) if step == 2 else (other, "for-all"):
            kind, at_ms = "click" if step == 2 else "impression", T0 + days[step] * DAY_MS
            its.append(Shown(member, kind, f"{step}-{campaign}", at_ms, campaign))
    return its


def is_serving(worker: Counting) -> bool:
    """Whether it has a partition of its own."""
    try:
        return len(worker.metrics("memberstream_lag_records")) == 1
    except OSError:
        return False


def old_counts(worker: Counting) -> dict[OldCell, OldTally]:
    return read_old(worker.settings.redis_url, worker.settings.keys, list(CAMPAIGNS))


def shares() -> list[Load]:
    """Return a load for each step, of members of its own."""
    made = []
    for step in range(4):
        mine = set(IDS[step::4]) - set(SHARED)
        part = load(6_000, step, 4)
        keys = {m.encode() for m in mine}
        made.append(
            Load(
                [one for one in part.records if one.key in keys],
                [one for one in part.shown if one.member in mine],
            )
        )
    return made


async def test_neither_version_changes_what_the_other_has_counted(
    real_pair: Pair, install: Install, before: Release
) -> None:
    """Records, ids and counts of one version are read by the other, on its disk and from its changelog, with kill -9 at
    each change. What this version counts, before and after, is what a plain recount says."""
    one = await counting(real_pair, install)
    two = one.colleague()
    shown: list[Shown] = []
    old: dict[OldCell, OldTally] = {}
    try:
        steps = zip((before, NOW, before, NOW), shares(), (0, 1, 1, 0), strict=True)
        for step, (release, part, loses_disk) in enumerate(steps):
            for worker in (one, two):
                worker.kill()
                if loses_disk and worker is one:
                    worker.lose_disk()
                worker.release = release
                worker.start()
            await two.until(lambda: is_serving(one) and is_serving(two), "a partition for each")
            held = one.counts()
            both = shared(step)
            await one.send(part.records)
            await one.send([Sent(its.member.encode(), envelope(its)) for its in both])
            await one.applied()
            if release is before:  # of its interactions only the clock matters to the others
                shown += [its._replace(kind="purchase", campaign=None) for its in part.shown]
                assert one.counts() == held
                old = old_counts(one)
            else:
                shown += part.shown
                shown += both if step == 1 else []  # later they are met before
                assert old_counts(one) == old
            assert one.counts() == expected(shown, one.n_partitions)
        assert sum(tally.members for tally in old.values()) > 100
    finally:
        await two.close()
        await one.close()
