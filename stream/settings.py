"""Settings: the one place that knows the environment, each setting declared once with its default and the reason.

Law: an environment is parsed whole into one frozen `Settings`, or refused with every problem at once.
docs/operations.md shows this list; a test holds the two together. The file is long because it is one list, a paragraph
for each setting.
"""

# ruff: noqa: RUF009 (setting is dataclasses.field with a parser and a reason)
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from memberstream.models.interaction import IMPRESSION, RESERVED, is_kind
from memberstream.models.placement import PARTITIONERS, Partitioner
from memberstream.models.position import MAX_EPOCH
from memberstream.models.timestamps import DAY_MS
from memberstream.stream.declared import (
    addresses,
    choice,
    host_names,
    instance_id,
    networks,
    roles,
    scopes,
    seconds,
    setting,
    text,
    url,
    whole,
)
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.kafka.security import Security
from memberstream.stream.kafka.security import variable as security_variable
from memberstream.stream.keyspace.keys import DEFAULT_PREFIX, PREFIX_RULE, Keys
from memberstream.stream.partition.gaps import OnGap
from memberstream.stream.wire.endpoint import parse_url

Clock = Literal["wall", "event"]
BrokerKind = Literal["kafka", "embedded"]
CompactedSource = Literal["refuse", "whole_documents"]
JsonKeys = Literal["refuse", "allow"]
LogFormat = Literal["text", "json"]
Traces = Literal["off", "otlp"]


_PLAIN = Security()
SHORTEST_SECRET = 16  # characters of a secret that isn't a person's
_NEAR = 0.7  # how alike two names are of which one may be a slip of the other
_PREFIX = "MEMBERSTREAM_"
_FILE = "_FILE"  # ends the variable that names the file of a secret


class SettingsError(ValueError):
    """Environment variables that can't be used. Operator: correct the named variables and start again."""


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


def _secret(value: str) -> str:
    if len(value) < SHORTEST_SECRET:
        raise ValueError(f"at least {SHORTEST_SECRET} characters, such as those of `openssl rand -hex 24`")
    return value


def _own_address(value: str) -> str:
    if value in ("", "0.0.0.0", "::"):
        raise ValueError("the address at which others reach this worker: it is told to them")
    return value


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker or command needs to know; the variable of a field is MEMBERSTREAM_ and its name in capitals."""

    kafka_bootstrap: tuple[str, ...] = setting(
        ("127.0.0.1:9092",), addresses, "Kafka brokers, host:port joined by commas; the port of `memberstream local`"
    )
    broker_kind: BrokerKind = setting(
        "kafka",
        choice("kafka", "embedded"),
        "`embedded` for the broker of `memberstream local`, which refuses idempotent producers. A retry may then write "
        "a changelog record twice: that stops the worker, and its next start puts it right",
    )
    topic: str = setting("member-docs", text, "the topic of change events; what can't be applied goes to <topic>.dead")
    partitioner: Partitioner = setting(
        "murmur2",
        choice(*PARTITIONERS),
        "how producers choose a member's partition: `murmur2` as Java's client, `crc32` as librdkafka by default, "
        "`fnv1a` as Sarama, `any` for another one. Events that lie elsewhere are refused (`wrong_partition`). With "
        "`any` nothing is refused, and commands look into every partition",
    )
    on_gap: OnGap = setting(
        "stop",
        choice("stop", "continue"),
        "what to do when records were removed from the topic before a worker read them. `stop` holds their partition "
        "until somebody has decided, `continue` goes on behind them. A missing patch makes documents wrong for good",
    )
    compacted_source: CompactedSource = setting(
        "refuse",
        choice("refuse", "whole_documents"),
        "what to do with a topic of change events that has cleanup.policy=compact. `refuse`: compaction drops patches "
        "and appends unread. `whole_documents` takes the topic; events other than replace and delete are then dead "
        "letters (`not_whole`)",
    )
    json_keys: JsonKeys = setting(
        "refuse",
        choice("refuse", "allow"),
        'what to do with a record whose key is JSON itself, `"m1"` in quotes or `{"id": "m1"}`. `refuse`: it is a dead '
        "letter (`bad_key`), because a converter has made it, and look-ups ask for `m1`. `allow`: the key is the "
        "member id as it stands",
    )
    topic_epoch: int = setting(
        0,
        whole(0, MAX_EPOCH),
        "raise it by one when the topic that the worker reads is created anew: docs/operations.md, "
        '"A topic re-created or re-partitioned"',
    )
    interactions_topic: str = setting(
        "member-interactions",
        text,
        "the topic of what members did about campaigns, counted by `memberstream interactions worker`; what can't be "
        "counted goes to <topic>.dead",
    )
    interaction_kinds: tuple[str, ...] = setting(
        (IMPRESSION, "click", "install", "purchase"),
        _kinds,
        "the kinds that are counted, joined by commas. Others are dead letters: otherwise a producer's mistake could "
        "make ever more counts",
    )
    interaction_horizon_days: int = setting(
        7,
        whole(1, 365),
        "how far an interaction may be behind the latest of its partition, and for how long its id is remembered. "
        "A week covers phones that were offline. Ids cost state: some 50 bytes each",
    )
    group: str = setting(
        "memberstream",
        text,
        "Kafka consumer group; also the prefix of the names of changelog, models' log and lists' topic",
    )
    redis_url: str = setting(
        "redis://127.0.0.1:6379/0",
        _redis_url,
        "redis://, redis+cluster:// or redis+sentinel:// with user and password; rediss in place of redis for TLS; "
        'options for certificates, password files and sentinels\' log-in behind `?` ("Redis")',
        is_secret=True,  # holds the password
    )
    redis_prefix: str = setting(
        DEFAULT_PREFIX,
        _prefix,
        f"what the names of all keys begin with, before a colon: {PREFIX_RULE}. Installations that share a database of "
        'Redis, or a Redis Cluster, need one each: "Several installations"',
    )
    data_dir: Path = setting(
        Path(".cache/worker"), Path, "local state (RocksDB); one directory for each worker process"
    )
    clock: Clock = setting(
        "wall",
        choice("wall", "event"),
        "what `now` is when scoring. `wall`: the wall clock. `event`, for replays of history: the time of the member's "
        "last event, and for members who fall due the latest time of their partition",
    )
    replication_factor: int = setting(
        3, whole(1, 9), "replicas of each topic that workers and commands create; 3 survive the loss of a broker"
    )
    standby_replicas: int = setting(
        0, whole(0, 5), "how many workers keep a warm copy of another's state; each costs its disk"
    )
    session_timeout_s: float = setting(
        10.0,
        seconds(1, 300),
        "after so many seconds without a heartbeat a worker's partitions go to others; Kafka's minimum is 6",
    )
    kafka_group_instance_id: str | None = setting(
        None,
        instance_id,
        "this worker's name in its group (`group.instance.id`), unlike that of any other one. With a name, a restart "
        "within the session timeout causes no rebalance. A worker that goes for good is then missed only when that "
        "time is over. In Kubernetes: the pod's name",
    )
    stall_limit_s: float = setting(
        120.0,
        seconds(2, 86_400),
        "how long a worker may have work, Kafka and Redis, and finish nothing. Then it ends, and its supervisor starts "
        "it again. After a quarter of that time it says so. Twice the longest that a rebalance may take",
    )
    metrics_host: str = setting(
        "127.0.0.1", text, "address of metrics and health; loopback, because metrics name models"
    )
    metrics_port: int = setting(
        9464, whole(0, 65535), "port of /metrics, /healthz and /readyz; 0: any free one, named in the log"
    )

    console_users: Path | None = setting(
        None,
        Path,
        "`memberstream console`: the file of those who may log in with a password. `memberstream console-users "
        "add` makes it. None: nobody logs in so",
    )
    console_proxies: tuple[str, ...] = setting(
        (),
        networks,
        "`memberstream console`: addresses of proxies that log people in, as 10.1.2.3 or 10.1.2.0/24, joined by "
        "commas. Their X-Forwarded-User and X-Forwarded-Groups are believed, so nobody else may reach it from there",
    )
    console_hosts: tuple[str, ...] = setting(
        (),
        host_names,
        "`memberstream console`: the names by which browsers ask for it over HTTPS, joined by commas. Others are "
        "refused. None: only names of this machine",
    )
    console_oidc_issuer: str | None = setting(
        None,
        url,
        "`memberstream console`: the OpenID Connect provider that logs people in, as it names itself, such as "
        "https://login.shop.example. None: nobody logs in so",
    )
    console_oidc_client_id: str | None = setting(None, text, "the name under which the provider knows the console")
    console_oidc_client_secret: str | None = setting(None, text, "the secret that goes with it", is_secret=True)
    console_oidc_scopes: tuple[str, ...] = setting(
        ("openid", "profile"),
        scopes,
        "what the provider is asked for, joined by commas. Some tell groups only if it holds `groups`",
    )
    console_oidc_name_claim: str = setting(
        "preferred_username",
        text,
        "the claim that names a person in the history. Take one that people can't choose themselves",
    )
    console_oidc_roles_claim: str = setting(
        "groups",
        text,
        "the claim that holds what roles go by: a text, or a list of texts. Dots lead into objects, as in "
        "realm_access.roles",
    )
    console_oidc_roles: tuple[str, ...] = setting(
        (),
        roles,
        "which of its values give which role: VALUE=ROLE joined by commas, as marketing=manager,everyone=viewer. "
        "None: memberstream-viewer, memberstream-manager, memberstream-author and memberstream-operator give theirs",
    )
    query_secret: str | None = setting(
        None,
        _secret,
        "shared by workers and who asks them for one member's state: the console's page of a member, and `explain`. "
        'Without it workers answer nobody: "Questions about one member"',
        is_secret=True,
    )
    query_host: str = setting(
        "127.0.0.1",
        _own_address,
        "this worker's address for such questions, as the console reaches it: it listens there, and tells it in Redis",
    )
    query_port: int = setting(0, whole(0, 65535), "its port; 0: any free one. Nobody needs to know it")
    log_format: LogFormat = setting(
        "text",
        choice("text", "json"),
        "how a worker logs to standard error. `json`: one object a line with time, level, logger, message, and where "
        "there is one next and error",
    )
    traces: Traces = setting(
        "off",
        choice("off", "otlp"),
        "`otlp` sends a trace of each batch to an OpenTelemetry collector; needs memberstream[traces]: "
        '"Traces of batches"',
    )
    kafka_security: Security = field(default=_PLAIN)

    @property
    def kafka(self) -> Kafka:
        """How to reach Kafka; makes all clients."""
        return Kafka(self.kafka_bootstrap, self.kafka_security)

    @property
    def keys(self) -> Keys:
        """The names of the keys in Redis."""
        return Keys(self.redis_prefix)

    @property
    def query_key(self) -> str | None:
        """The secret of questions about members, for this group's alone; None: there is none."""
        return None if self.query_secret is None else f"{self.group} {self.query_secret}"

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
    return f"{_PREFIX}{name.upper()}"


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Return the settings of an environment.

    A secret may come from a file: the variable's name and _FILE, with the file's path. An end of line at its end isn't
    part of the secret.

    Raises:
        SettingsError: a value that isn't what its setting takes, or a MEMBERSTREAM_ variable that no setting has.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    known = dict(chain(_own(), _security()))
    for name, value in environment.items():
        if not name.startswith(_PREFIX):
            continue
        plain = name.removesuffix(_FILE)
        is_file = name != plain and plain in known and known[plain].metadata["is_secret"]
        declared = known.get(plain if is_file else name)
        if declared is None:
            problems.append(f"{name}: unknown; {_instead_of(name, known)}")
            continue
        if is_file and plain in environment:
            problems.append(f"{name}: {plain} is set, too; take one of them")
            continue
        try:
            given = Path(value).read_text().rstrip("\r\n") if is_file else value
            values[plain if is_file else name] = declared.metadata["parse"](given)
        except OSError as error:
            problems.append(f"{name}: can't read {value} ({error.strerror})")
        except UnicodeDecodeError:
            problems.append(f"{name}: expected text in UTF-8 in {value}")
        except ValueError as error:
            found = "something else" if declared.metadata["is_secret"] else repr(value)
            problems.append(f"{name}: expected {error}, found {found}")
    security = Security(**{one.name: values.pop(name) for name, one in _security() if name in values})
    problems += [*security.problems(), *_oidc_problems(values)]
    if problems:
        raise SettingsError("\n".join([*problems, "Next: correct these variables (docs/operations.md)"]))
    return Settings(**{known[name].name: value for name, value in values.items()}, kafka_security=security)


def _oidc_problems(values: Mapping[str, Any]) -> list[str]:
    """Return what lacks for a log-in by OpenID Connect, if a part of it is set."""
    needed = [variable(f"console_oidc_{name}") for name in ("issuer", "client_id", "client_secret")]
    if not any(name in values for name in needed):
        return []
    wanted = "expected a value, as the others of the log-in by OpenID Connect have one"
    return [f"{name}: {wanted}" for name in needed if name not in values]


def _instead_of(name: str, known: Iterable[str]) -> str:
    """Return what may be meant by a variable that no setting has."""
    ends = {one.removeprefix(_PREFIX): one for one in known}  # all begin alike
    near = get_close_matches(name.removeprefix(_PREFIX), ends, n=1, cutoff=_NEAR)
    return f"did you mean {ends[near[0]]}?" if near else f"the settings are {', '.join(ends.values())}"


def to_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that give these settings again, for a worker started as a process of its own."""
    found = {name: getattr(settings, one.name) for name, one in _own()}
    security = {name: (getattr(settings.kafka_security, one.name), one.default) for name, one in _security()}
    found |= {name: value for name, (value, default) in security.items() if value != default}
    return {
        name: ",".join(value) if isinstance(value, tuple) else str(value)
        for name, value in found.items()
        if value is not None
    }


def markdown_table() -> str:
    """Return the table of docs/operations.md."""
    return _table(_own())


def security_table() -> str:
    """Return the table of docs/kafka-security.md."""
    return _table(_security())


def _table(settings: Iterable[tuple[str, Field[Any]]]) -> str:
    lines = ["| variable | default | what, and why this default |", "|---|---|---|"]
    for name, declared in settings:
        default = declared.default
        shown = ",".join(default) if isinstance(default, tuple) else str(default)
        default_cell = "" if default in (None, ()) else f"`{shown}`"
        lines.append(f"| `{name}` | {default_cell} | {declared.metadata['reason']} |")
    return "\n".join(lines)


def _own() -> Iterator[tuple[str, Field[Any]]]:
    """Yield (variable, field) of each setting."""
    return ((variable(one.name), one) for one in fields(Settings) if "parse" in one.metadata)


def _security() -> Iterator[tuple[str, Field[Any]]]:
    """The same of Kafka's security."""
    return ((security_variable(one.name), one) for one in fields(Security))
