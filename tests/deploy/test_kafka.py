"""deploy/kafka/server.properties, run by a real broker: a setting that Kafka refuses would stop compose."""

from __future__ import annotations

from pathlib import Path

import pytest
from servers import ApacheKafka, KafkaMissing, create_topic, missing

PROPERTIES = Path(__file__).resolve().parents[2] / "deploy/kafka/server.properties"
OF_THE_PLACE = {"node.id", "listeners", "advertised.listeners", "controller.quorum.voters", "log.dirs"}


@pytest.mark.long
@pytest.mark.kafka
async def test_the_broker_starts_with_compose_settings(tmp_path: Path) -> None:
    """All settings but addresses and directories are compose's; the topic of change events can be created."""
    lines = PROPERTIES.read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert settings.keys() >= OF_THE_PLACE
    broker = ApacheKafka(tmp_path, settings={k: v for k, v in settings.items() if k not in OF_THE_PLACE})
    try:
        broker.start()
    except KafkaMissing as error:
        missing(str(error))
    try:
        await create_topic(broker.bootstrap, "member-docs", partitions=4, config={"retention.ms": "-1"})
    finally:
        broker.stop()
