"""After which pause a worker asks whether it is still a member."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver

from memberstream.stream.faust_batch import membership
from memberstream.stream.faust_batch.offsets import RangeConsumer


@pytest.mark.parametrize(
    ("name", "session_s", "heartbeat_s", "limit_s"),
    [(None, 60.0, 3.0, 24.0), ("memberstream-0", 60.0, 3.0, 3.0), ("memberstream-0", 6.0, 3.0, 2.4)],
)
def test_a_pause_after_which_another_may_have_the_partitions(
    name: str | None, session_s: float, heartbeat_s: float, limit_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a name the broker waits for a session. With a name a process that joins under it has them at once."""
    now_s = 0.0
    monkeypatch.setattr(membership, "monotonic", lambda: now_s)
    conf = SimpleNamespace(
        consumer_group_instance_id=name, broker_session_timeout=session_s, broker_heartbeat_interval=heartbeat_s
    )
    monkeypatch.setattr(driver.Consumer, "__init__", lambda self: setattr(self, "app", SimpleNamespace(conf=conf)))
    source: Any = SimpleNamespace(owned=None)
    consumer = RangeConsumer(source=source)
    now_s = limit_s - 0.01
    assert consumer._membership.is_sure
    now_s = limit_s + 0.01
    assert not consumer._membership.is_sure
