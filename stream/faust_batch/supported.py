"""Start-up guard: are the installed Faust and aiokafka the ones this package was written against and tested with?

The law of this file:
1. Everything private that the package touches stands in ONE list here. A name that isn't listed isn't used.
2. A difference stops the worker before it joins the group: an upgrade fails loudly, never with wrong state.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

#: Distribution → version prefix with which the tests ran. Patch releases may differ; the list below must still hold.
SUPPORTED = {
    "faust-streaming": "0.15.",
    "mode-streaming": "0.7.",
    "aiokafka": "0.14.",
    "rocksdict": "0.3.",
    "cramjam": "2.",  # aiokafka's codecs: without it records compressed by snappy, lz4 or zstd stop a worker
}

#: module:Class.method → its parameters, without self, in order ("*" stands for "and more, by name").
METHODS: Mapping[str, tuple[str, ...]] = {
    "faust.app.base:App._new_transport": (),
    "faust.app.base:App.crash": ("reason",),
    "faust.transport.base:Transport.create_consumer": ("callback", "*"),
    "faust.transport.base:Transport.create_producer": ("*",),
    "faust.transport.consumer:Consumer._drain_messages": ("fetcher",),
    "faust.transport.consumer:Consumer._filter_tps_with_pending_acks": ("topics",),
    "faust.transport.consumer:Consumer._new_offset": ("tp",),
    "faust.transport.consumer:Consumer._should_commit": ("tp", "offset"),
    "faust.transport.consumer:ThreadDelegateConsumer._commit": ("offsets",),
    "faust.transport.consumer:Consumer._get_active_partitions": (),
    "faust.transport.consumer:Consumer.commit": ("topics", "start_new_transaction"),
    "faust.transport.consumer:Consumer.stop_flow": (),
    "faust.transport.consumer:Consumer.resume_flow": (),
    "faust.transport.consumer:Consumer.on_partitions_revoked": ("revoked",),
    "faust.transport.consumer:Consumer.on_partitions_assigned": ("assigned", "generation_id"),
    "faust.transport.consumer:ThreadDelegateConsumer._getmany": ("active_partitions", "timeout"),
    "faust.transport.drivers.aiokafka:Consumer._new_consumer_thread": (),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer": ("transport",),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records": (
        "consumer",
        "active_partitions",
        "timeout",
        "max_records",
    ),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.getmany": ("active_partitions", "timeout"),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.commit": ("offsets",),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.seek_wait": ("partitions",),
    "faust.transport.drivers.aiokafka:Producer._settings_extra": (),
    "faust.transport.drivers.aiokafka:Producer._ensure_producer": (),
    "faust.transport.drivers.aiokafka:Producer._new_producer": ("transactional_id",),
    "faust.tables.manager:TableManager._update_channels": (),
    "faust.tables.recovery:Recovery._build_highwaters": ("consumer", "tps", "destination", "title"),
    "faust.tables.recovery:Recovery.need_recovery": (),
    "faust.tables.recovery:Recovery.on_rebalance": ("assigned", "revoked", "newly_assigned", "generation_id"),
    "faust.tables.recovery:Recovery.on_recovery_completed": ("generation_id",),
    "faust.tables.base:Collection._new_store": (),
    "faust.stores.rocksdb:Store._open_for_partition": ("partition",),
    "faust.stores.rocksdb:Store._db_for_partition": ("partition",),
    "faust.stores.rocksdb:Store.revoke_partitions": ("table", "tps"),
    "faust.stores.rocksdb:Store.partition_path": ("partition",),
    "aiokafka.consumer.fetcher:Fetcher.fetched_records": ("partitions", "timeout", "max_records"),
    "aiokafka.consumer.fetcher:Fetcher._create_fetch_waiter": (),
    "aiokafka.consumer.fetcher:Fetcher._get_actions_per_node": ("assignment",),
    "aiokafka.consumer.subscription_state:TopicPartitionState.await_reset": ("strategy",),
    "aiokafka.consumer:AIOKafkaConsumer.last_stable_offset": ("partition",),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.earliest_offsets": ("partitions",),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._ensure_consumer": (),
    "aiokafka.consumer.fetcher:PartitionRecords._consumer_record": ("tp", "record"),
    "aiokafka.consumer.fetcher:PartitionRecords.__next__": (),
    "aiokafka.consumer.fetcher:PartitionRecords._unpack_records": (),
    "aiokafka.record.default_records:_DefaultRecordBatchPy._read_msg": ("decode_varint",),
    "aiokafka.record.default_records:_DefaultRecordBatchBuilderPy.build": (),
    "aiokafka.producer.message_accumulator:BatchBuilder.append": ("timestamp", "key", "value", "headers"),
    "aiokafka.producer.message_accumulator:BatchBuilder._build": (),
    "aiokafka.producer.message_accumulator:BatchBuilder.record_count": (),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._do_rejoin_group": ("subscription",),
    "aiokafka.consumer.group_coordinator:GroupCoordinator.reset_generation": (),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._send_req": ("request",),
    "aiokafka.protocol.api:Request.build": ("request_struct_class",),
    "aiokafka.protocol.metadata:MetadataRequest.__init__": ("topics", "allow_auto_topic_creation"),
    "faust.worker:Worker._setproctitle": ("info", "ident"),
    "mode.worker:Worker._sentinel_task": (),
    "aiokafka.producer:AIOKafkaProducer.create_batch": (),
    "aiokafka.producer:AIOKafkaProducer.send_batch": ("batch", "topic", "partition"),
}

#: module:Class → instance attributes that its __init__ must set, or that the class must declare.
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "faust.transport.consumer:Consumer": (
        "flow_active",
        "can_resume_flow",
        "_committed_offset",
        "_active_partitions",
        "_read_offset",
    ),
    "faust.transport.consumer:ThreadDelegateConsumer": ("_thread",),
    "faust.tables.manager:TableManager": ("_recovery", "standbys_ready"),
    "faust.tables.recovery:Recovery": (
        "active_tps",
        "standby_tps",
        "active_offsets",
        "standby_offsets",
        "active_highwaters",
        "signal_recovery_start",
        "signal_recovery_end",
        "_slurp_changelogs",
    ),
    "faust.stores.rocksdb:Store": ("offset_key", "_dbs"),
    "aiokafka.consumer:AIOKafkaConsumer": (
        "_fetch_max_wait_ms",
        "_fetch_max_bytes",
        "_isolation_level",
        "_auto_offset_reset",
        "_max_partition_fetch_bytes",
        "_client",
        "_fetcher",
        "_subscription",
        "_closed",
        "_coordinator",
        "_group_instance_id",
        "_max_poll_records",
    ),
    "mode.threads:ServiceThread": ("thread_loop",),
    "aiokafka.consumer.group_coordinator:GroupCoordinator": (
        "generation",
        "member_id",
        "group_id",
        "_group_instance_id",
        "_retry_backoff_ms",
    ),
    "aiokafka.producer:AIOKafkaProducer": ("_message_accumulator",),
    "aiokafka.producer.message_accumulator:MessageAccumulator": ("_batch_ttl",),
    "aiokafka.consumer.fetcher:Fetcher": (
        "_closed",
        "_subscriptions",
        "_records",
        "_pending_tasks",
        "_fetch_max_wait_ms",
    ),
    "aiokafka.consumer.fetcher:PartitionRecords": ("_records", "_records_iterator", "next_fetch_offset"),
    "aiokafka.record.default_records:_DefaultRecordBatchPy": ("_buffer", "_pos"),
    "aiokafka.consumer.fetcher:FetchResult": ("_partition_records",),
    "aiokafka.consumer.subscription_state:SubscriptionState": ("reassignment_in_progress", "fetch_context"),
}


class UnsupportedVersion(RuntimeError):
    """The installed Faust, mode, aiokafka or rocksdict isn't one this was tested with. Install the pinned ones."""


def check_supported(installed: Callable[[str], str] = version) -> None:
    """Raise UnsupportedVersion, naming every difference at once, unless the installed packages fit.

    `installed` maps a distribution's name to its version (importlib.metadata.version; tests use another function).
    """
    problems = [*_wrong_versions(installed), *_wrong_methods(), *_missing_attributes()]
    if problems:
        wanted = ", ".join(f"{name} {prefix}x" for name, prefix in SUPPORTED.items())
        raise UnsupportedVersion(
            "the installed packages differ from those that stream.faust_batch was tested with:\n"
            + "".join(f"  - {problem}\n" for problem in problems)
            + f"Supported: {wanted}. Next: install the versions pinned in pyproject.toml "
            "(pip install --force-reinstall memberstream), or port stream/faust_batch and run tests/worker."
        )


def _wrong_versions(installed: Callable[[str], str]) -> list[str]:
    problems = []
    for name, prefix in SUPPORTED.items():
        try:
            found = installed(name)
        except PackageNotFoundError:
            found = "not installed"
        if not found.startswith(prefix):
            problems.append(f"{name}: found {found}, supported {prefix}x")
    return problems


def _resolve(path: str) -> Any:
    module, _, names = path.partition(":")
    found = import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    return found


def _wrong_methods() -> list[str]:
    problems = []
    for path, expected in METHODS.items():
        try:
            parameters = inspect.signature(_resolve(path)).parameters.values()
        except (ImportError, AttributeError):
            problems.append(f"{path}: gone")
            continue
        found = tuple(
            "*" if parameter.kind is parameter.VAR_KEYWORD else parameter.name
            for parameter in parameters
            if parameter.name != "self"
        )
        if found != expected:
            problems.append(f"{path}: found parameters {found}, expected {expected}")
    return problems


def _missing_attributes() -> list[str]:
    problems = []
    for path, names in ATTRIBUTES.items():
        try:
            owner = _resolve(path)
        except (ImportError, AttributeError):
            problems.append(f"{path}: gone")
            continue
        set_in_init = owner.__init__.__code__.co_names
        declared = {name for base in owner.__mro__ for name in getattr(base, "__annotations__", ())}
        problems += [
            f"{path}.{name}: gone"
            for name in names
            if not (hasattr(owner, name) or name in declared or name in set_in_init)
        ]
    return problems
