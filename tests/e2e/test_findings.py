"""What reports have told, in a real topic: read back in its order, only news is written, other records are left out."""

from __future__ import annotations

from confluent_kafka import Producer
from e2e.system import Install, Pair

from memberstream.models.told import Told
from memberstream.stream.authoring.telling import Findings


async def test_findings_are_kept(pair: Pair, install: Install) -> None:
    """Before anything was told there is no topic, and nothing to read. What isn't a finding changes nothing."""
    system = await install(pair, [])
    findings = Findings(system.settings)
    assert await findings.read() == []
    none_yet = Told("spring", "purchase", "no effect shown yet", 1, "ann@host")
    worked = Told("spring", "purchase", "worked", 2, "ann@host", 0.01, 0.002, 0.018)
    for finding in (none_yet, worked, worked):
        await findings.tell([finding], await findings.read())
    assert await findings.read() == [none_yet, worked]
    producer = Producer({"bootstrap.servers": pair.broker.bootstrap})
    for value in (b"{", None, b'{"family":"x"}'):
        producer.produce(system.settings.findings_topic, value, b"k")
    assert producer.flush(30) == 0
    await findings.tell([none_yet], await findings.read())
    assert await findings.read() == [none_yet, worked, none_yet]
