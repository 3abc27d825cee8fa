"""Settings: the one place that knows the environment, each setting declared once with its default and the reason.

Law: an environment is parsed whole into one frozen `Settings`, or refused with every problem at once.
docs/operations.md shows this list; a test holds the two together.
"""

# ruff: noqa: RUF009 (_setting is dataclasses.field with a parser and a reason)
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast

from memberstream.models.interaction import IMPRESSION, RESERVED, is_kind
from memberstream.models.placement import PARTITIONERS, Partitioner
from memberstream.models.position import MAX_EPOCH
from memberstream.models.timestamps import DAY_MS
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.keyspace.keys import DEFAULT_PREFIX, PREFIX_RULE, Keys
from memberstream.stream.partition.gaps import OnGap
from memberstream.stream.wire.endpoint import parse_url

Clock = Literal["wall", "event"]
BrokerKind = Literal["kafka", "embedded"]
CompactedSource = Literal["refuse", "whole_documents"]
JsonKeys = Literal["refuse", "allow"]


class SettingsError(ValueError):
    """Environment variables that can't be used. Operator: correct the named variables and start again."""


def _text(value: str) -> str:
    if not value:
        raise ValueError("a text")
    return value


def _bootstrap(value: str) -> tuple[str, ...]:
    servers = tuple(server.strip() for server in value.split(",") if server.strip())
    for server in servers:
        host, colon, port = server.rpartition(":")
        if not (host and colon and port.isdigit()):
            raise ValueError("host:port, or several joined by commas")
    if not servers:
        raise ValueError("host:port, or several joined by commas")
    return servers


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not value.isdigit() or not low <= int(value) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(value: str) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = -1
        if not low <= seconds <= high:
            raise ValueError(f"seconds from {low} to {high}")
        return seconds

    return parse


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return value

    return parse


def _kinds(value: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(kind.strip() for kind in value.split(",")))
    if not all(map(is_kind, kinds)):
        raise ValueError(
            "kinds joined by commas: each begins with a small letter; small letters, digits, _ and - may follow, 32 "
            f"characters in all; not {' or '.join(RESERVED)}"
        )
    return kinds


def _redis_url(value: str) -> str:
    try:
        parse_url(value)
    except ValueError:
        raise ValueError(
            "redis://[user:password@]host[:port][/database], redis+cluster://host,host or "
            "redis+sentinel://host,host/service; rediss in place of redis for TLS"
        ) from None
    return value


def _prefix(value: str) -> str:
    try:
        return Keys(value).prefix
    except ValueError:
        raise ValueError(PREFIX_RULE.replace("`", "")) from None


def _setting(default: Any, parse: Callable[[str], Any], reason: str, *, is_secret: bool = False) -> Any:
    return field(default=default, metadata={"parse": parse, "reason": reason, "is_secret": is_secret})


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker or command needs to know; the variable of a field is MEMBERSTREAM_ and its name in capitals."""

    kafka_bootstrap: tuple[str, ...] = _setting(
        ("127.0.0.1:9092",), _bootstrap, "Kafka brokers, host:port joined by commas; the port of `memberstream local`"
    )
    broker_kind: BrokerKind = _setting(
        "kafka",
        _choice("kafka", "embedded"),
        "`embedded` for the broker of `memberstream local`, which refuses idempotent producers. A retry may then write "
        "a changelog record twice: that stops the worker, and its next start puts it right",
    )
    topic: str = _setting(
        "member-docs", _text, "the topic of change events; what can't be applied goes to <topic>.dead"
    )
    partitioner: Partitioner = _setting(
        "murmur2",
        _choice(*PARTITIONERS),
        "how producers choose a member's partition: `murmur2` as Java's client, `crc32` as librdkafka by default, "
        "`fnv1a` as Sarama, `any` for another one. Events that lie elsewhere are refused (`wrong_partition`). With "
        "`any` nothing is refused, and commands look into every partition",
    )
    on_gap: OnGap = _setting(
        "stop",
        _choice("stop", "continue"),
        "what to do when records were removed from the topic before a worker read them. `stop` holds their partition "
        "until somebody has decided, `continue` goes on behind them. A missing patch makes documents wrong for good",
    )
    compacted_source: CompactedSource = _setting(
        "refuse",
        _choice("refuse", "whole_documents"),
        "what to do with a topic of change events that has cleanup.policy=compact. `refuse`: compaction drops patches "
        "and appends unread. `whole_documents` takes the topic; events other than replace and delete are then dead "
        "letters (`not_whole`)",
    )
    json_keys: JsonKeys = _setting(
        "refuse",
        _choice("refuse", "allow"),
        'what to do with a record whose key is JSON itself, `"m1"` in quotes or `{"id": "m1"}`. `refuse`: it is a dead '
        "letter (`bad_key`), because a converter has made it, and look-ups ask for `m1`. `allow`: the key is the "
        "member id as it stands",
    )
    topic_epoch: int = _setting(
        0,
        _whole(0, MAX_EPOCH),
        "raise it by one when the topic that the worker reads is created anew: docs/operations.md, "
        '"A topic re-created or re-partitioned"',
    )
    interactions_topic: str = _setting(
        "member-interactions",
        _text,
        "the topic of what members did about campaigns, counted by `memberstream interactions worker`; what can't be "
        "counted goes to <topic>.dead",
    )
    interaction_kinds: tuple[str, ...] = _setting(
        (IMPRESSION, "click", "install", "purchase"),
        _kinds,
        "the kinds that are counted, joined by commas. Others are dead letters: otherwise a producer's mistake could "
        "make ever more counts",
    )
    interaction_horizon_days: int = _setting(
        7,
        _whole(1, 365),
        "how far an interaction may be behind the latest of its partition, and for how long its id is remembered. "
        "A week covers phones that were offline. Ids cost state: some 50 bytes each",
    )
    group: str = _setting(
        "memberstream",
        _text,
        "Kafka consumer group; also the prefix of the names of changelog, models' log and lists' topic",
    )
    redis_url: str = _setting(
        "redis://127.0.0.1:6379/0",
        _redis_url,
        "redis://, redis+cluster:// or redis+sentinel:// with user and password; rediss in place of redis for TLS",
        is_secret=True,  # holds the password
    )
    redis_prefix: str = _setting(
        DEFAULT_PREFIX,
        _prefix,
        f"what the names of all keys begin with, before a colon: {PREFIX_RULE}. Installations that share a database of "
        'Redis, or a Redis Cluster, need one each: "Several installations"',
    )
    data_dir: Path = _setting(
        Path(".cache/worker"), Path, "local state (RocksDB); one directory for each worker process"
    )
    clock: Clock = _setting(
        "wall",
        _choice("wall", "event"),
        "what `now` is when scoring. `wall`: the wall clock. `event`, for replays of history: the time of the member's "
        "last event, and for members who fall due the latest time of their partition",
    )
    replication_factor: int = _setting(
        3, _whole(1, 9), "replicas of each topic that workers and commands create; 3 survive the loss of a broker"
    )
    standby_replicas: int = _setting(
        0, _whole(0, 5), "how many workers keep a warm copy of another's state; each costs its disk"
    )
    session_timeout_s: float = _setting(
        10.0,
        _seconds(1, 300),
        "after so many seconds without a heartbeat a worker's partitions go to others; Kafka's minimum is 6",
    )
    stall_limit_s: float = _setting(
        120.0,
        _seconds(2, 86_400),
        "how long a worker may have work, Kafka and Redis, and finish nothing. Then it ends, and its supervisor starts "
        "it again. After a quarter of that time it says so. Twice the longest that a rebalance may take",
    )
    metrics_host: str = _setting(
        "127.0.0.1", _text, "address of metrics and health; loopback, because metrics name models"
    )
    metrics_port: int = _setting(
        9464, _whole(0, 65535), "port of /metrics, /healthz and /readyz; 0: any free one, named in the log"
    )

    @property
    def kafka(self) -> Kafka:
        """How to reach Kafka; makes all clients."""
        return Kafka(self.kafka_bootstrap)

    @property
    def keys(self) -> Keys:
        """The names of the keys in Redis."""
        return Keys(self.redis_prefix)

    @property
    def is_compaction_admitted(self) -> bool:
        """Whether the topic of change events may be compacted, because it holds whole documents only."""
        return self.compacted_source == "whole_documents"

    @property
    def are_json_keys_allowed(self) -> bool:
        """Whether a key that is JSON itself is a member id."""
        return self.json_keys == "allow"

    @property
    def dead_letter_topic(self) -> str:
        return f"{self.topic}.dead"

    @property
    def interaction_dead_letter_topic(self) -> str:
        return f"{self.interactions_topic}.dead"

    @property
    def interaction_group(self) -> str:
        return f"{self.group}-interactions"

    @property
    def interaction_horizon_ms(self) -> int:
        return self.interaction_horizon_days * DAY_MS

    @property
    def models_topic(self) -> str:
        return f"{self.group}-models"

    @property
    def findings_topic(self) -> str:
        return f"{self.group}-findings"

    @property
    def lists_topic(self) -> str:
        return f"{self.group}-lists"

    @property
    def skips_topic(self) -> str:
        return f"{self.group}-skips"

    @property
    def changelog_topic(self) -> str:
        return f"{self.group}-state-changelog"


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"MEMBERSTREAM_{name.upper()}"


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Return the settings of an environment.

    Raises:
        SettingsError: a value that isn't what its setting takes, or a MEMBERSTREAM_ variable that no setting has.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    known = {variable(setting.name): setting for setting in fields(Settings)}
    for name, text in environment.items():
        if not name.startswith("MEMBERSTREAM_"):
            continue
        setting = known.get(name)
        if setting is None:
            problems.append(f"{name}: unknown; the settings are {', '.join(known)}")
            continue
        try:
            values[setting.name] = cast(Callable[[str], Any], setting.metadata["parse"])(text)
        except ValueError as error:
            found = "something else" if setting.metadata["is_secret"] else repr(text)
            problems.append(f"{name}: expected {error}, found {found}")
    if problems:
        raise SettingsError("\n".join([*problems, "Next: correct these variables (docs/operations.md)"]))
    return Settings(**values)


def to_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that give these settings again, for a worker started as a process of its own."""
    texts = {}
    for setting in fields(settings):
        value = getattr(settings, setting.name)
        texts[variable(setting.name)] = ",".join(value) if isinstance(value, tuple) else str(value)
    return texts


def markdown_table() -> str:
    """Return the table of docs/operations.md."""
    lines = ["| variable | default | what, and why this default |", "|---|---|---|"]
    for setting in fields(Settings):
        default = setting.default
        shown = ",".join(default) if isinstance(default, tuple) else str(default)
        lines.append(f"| `{variable(setting.name)}` | `{shown}` | {setting.metadata['reason']} |")
    return "\n".join(lines)
