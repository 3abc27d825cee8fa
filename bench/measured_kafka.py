"""Apache Kafka to measure on: as the tests start it (tests/kafka/broker.py), but with the JVM of a real broker."""

from __future__ import annotations

from memberstream.stream.local.server_process import check_free
from tests.kafka.broker import ApacheKafka, Installation

# Made for a quick start: C1 alone, the serial collector, a class archive that fits only them, half the heap.
_NOT_HERE = ("-Xmx", "-XX:TieredStopAtLevel", "-XX:+UseSerialGC", "-XX:SharedArchiveFile", "-Xlog:cds")
_INSTEAD = ("-Xms1g", "-Xmx1g", "-XX:+UseG1GC")


class MeasuredKafka(ApacheKafka):  # type: ignore[misc]
    """All compilers, G1 and a heap of 1 GB, as Kafka's own start script has it."""

    def spawn(self) -> None:
        """Format the data directory and launch the node; returns before it is ready."""
        installation = Installation.prepared()
        check_free(self.port, f"Apache Kafka node {self.node}")
        properties = self._write_properties()
        installation.format(properties, self.directory, {})
        java, *options = installation.java(self.directory)
        kept = [option for option in options if not option.startswith(_NOT_HERE)]
        self._server.spawn([java, *_INSTEAD, *kept, "kafka.Kafka", str(properties)], cwd=self.directory)
