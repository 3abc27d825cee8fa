"""Every setting of Faust that matters, with its reason.

Law: Faust reads the rest from the environment, so what is not named here has Faust's default.
"""

from __future__ import annotations

from typing import Any

from faust import auth

from memberstream.stream.faust_batch.changelog import BATCH_BYTES
from memberstream.stream.kafka.security import Security
from memberstream.stream.partition.changelog_topic import MESSAGE_BYTES

#: The most that one fetch brings from a broker: for all its partitions together, and for one of them. A member costs
#: once in a batch, however many events it has there. So a partition that is behind gets large batches and catches up
#: faster. It is bounded because nothing of a batch is readable before all of it is written, and a stop waits for two.
FETCH_BYTES = 32 << 20
BATCH_RECORDS = 65_536


def credentials(security: Security) -> Any:
    """Return Faust's form of Kafka's security, None if there is none. Raises SecurityError."""
    options = security.options()
    if not options:
        return None
    context = options["ssl_context"]
    if not security.has_sasl:
        return auth.SSLCredentials(context)
    if (tokens := security.tokens()) is not None:
        return auth.OAuthCredentials(oauth_cb=tokens, ssl_context=context)
    return auth.SASLCredentials(
        username=security.sasl_username,
        password=security.sasl_password,
        ssl_context=context,
        mechanism=security.sasl_mechanism,
    )


def faust_settings(
    *,
    group_instance_id: str | None,
    session_timeout_s: float,
    heartbeat_s: float,
    commit_interval_s: float,
    replication_factor: int,
    standby_replicas: int,
) -> dict[str, Any]:
    """Return the settings, except those that name something of this worker."""
    return {
        # The web server shows tables and binds all interfaces. The leader topic serves timers that we don't have.
        "web_enabled": False,
        "topic_disable_leader": True,
        "autodiscover": False,
        "topic_replication_factor": replication_factor,
        "table_standby_replicas": standby_replicas,
        # Membership. The request timeout must exceed the session timeout (Faust insists) and a rebalance (60 s).
        "consumer_group_instance_id": group_instance_id,
        "broker_session_timeout": session_timeout_s,
        "broker_heartbeat_interval": heartbeat_s,
        "broker_request_timeout": max(90.0, session_timeout_s + 10.0),
        # A handler that waits for a dependency keeps its partitions: no other worker could do better.
        "broker_max_poll_interval": 24 * 3600.0,
        "broker_commit_interval": commit_interval_s,
        # Must exceed one fetch: aiokafka asks a broker again only when all that it got from it is handed out.
        "broker_max_poll_records": BATCH_RECORDS,
        "consumer_max_fetch_size": FETCH_BYTES,
        # Anything else skips records after a loss of the committed offsets.
        "consumer_auto_offset_reset": "earliest",
        "producer_acks": -1,
        "producer_linger": 0,
        "producer_max_batch_size": BATCH_BYTES,
        "producer_max_request_size": MESSAGE_BYTES,
        # Faust's own check compares with ListOffsets (wrong on Tansu) and says only "inconsistent". recovery.py
        # compares with what the fetch says, on every broker, and says what to do.
        "recovery_consistency_check": False,
        "stream_recovery_delay": 0.0,
        "worker_redirect_stdouts": False,
    }
