"""The Redis contract with readers as a table: each key, its fields and formats, who writes and reads it, its life time.

Law: docs/redis.md holds the same table and a test compares the two. Names and formats in code: keyspace.py.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a hash (or the whole value of a string, then `name` is empty)."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of the contract."""

    key: str
    kind: str
    fields: tuple[Field, ...]
    writer: str
    readers: str
    lifetime: str


KEYSPACE: tuple[Entry, ...] = (
    Entry(
        "ms:member:<member_id>",
        "string",
        (Field("", "<pos>\\|<model>@<version>=<cluster>:<since_ms>…", "the member's row: see below"),),
        "worker (write.lua, list.lua, forget.lua)",
        "look-ups",
        "for ever; a tombstone 24 h",
    ),
    Entry(
        "ms:{meta}:live",
        "hash",
        (Field("<model>", "<version>", "the version readers use; a model without one isn't there"),),
        "worker, `model promote` (models.lua)",
        "look-ups",
        "for ever",
    ),
    Entry(
        "ms:{meta}:models",
        "hash",
        (
            Field(
                "<model>@<version>",
                '{"type":…,"clusters":{"<cluster>":"<name>",…}}',
                "names for readers; also of candidates. Type `list`: uploaded, not computed",
            ),
        ),
        "worker, `model promote` (models.lua)",
        "look-ups",
        "until retired",
    ),
    Entry(
        "ms:{meta}:campaigns",
        "hash",
        (
            Field(
                "<campaign>",
                '{"model":…,"clusters":[…],"from":…,"until":…,"holdout":…,"state":…}',
                "who sees it; rules and types: campaigns.md",
            ),
        ),
        "worker, `campaign set` (models.lua)",
        "look-ups",
        "until deleted",
    ),
    Entry(
        "ms:{meta}:known",
        "string",
        (
            Field(
                "",
                "<offset>",
                "of the models' log: what `live`, `models` and `campaigns` contain; an older writer is refused",
            ),
        ),
        "worker, `model promote`, `campaign set` (models.lua)",
        "look-ups, worker",
        "for ever",
    ),
    Entry(
        "ms:{meta}:scored",
        "hash",
        (
            Field(
                "<partition>",
                "<offset>:<remaining>[:<refused>,…]",
                "all members are scored with the models' log up to offset; members still to be looked at, about; "
                "offsets of the versions that the worker can't use",
            ),
        ),
        "worker",
        "`model publish --wait`, `model promote`",
        "for ever",
    ),
    Entry(
        "ms:{meta}:epoch",
        "string",
        (Field("", "<completed_ms>", "when the projection was complete; absent: it is being rebuilt"),),
        "worker (finish.lua)",
        "look-ups, worker",
        "for ever",
    ),
    Entry(
        "ms:{meta}:built",
        "hash",
        (Field("<partition>", "<token> or done:<token>", "who builds the partition, and whether it is done"),),
        "worker (begin, finish.lua)",
        "worker",
        "only while building",
    ),
    Entry(
        "ms:{meta}:beacons",
        "hash",
        (
            Field(
                "<partition>",
                "<next_offset>:<clock_ms>:<written_ms>",
                "all below next_offset (of this epoch) is applied; the worker's own time; wall clock of the write",
            ),
        ),
        "worker (beacon.lua)",
        "look-ups, worker",
        "for ever",
    ),
    Entry(
        "ms:counts:<campaign>",
        "hash",
        (
            Field(
                "<partition> <version> <cluster> <0 or 1> <kind> <day>",
                "<members> <events> <sum> <sum of squares> <values>",
                "interactions counted in one partition: label of the model version, cluster and (1) held out at the "
                "exposure; kind; days since 1970 in UTC. Members for the first time, events, their values. Add up the "
                "partitions: interactions.md",
            ),
            Field("<partition>", "<term>", "the latest owner that wrote the partition's counts; an older is refused"),
        ),
        "interactions worker (counts.lua)",
        "readout",
        "for ever",
    ),
    Entry(
        "ms:{meta}:counted",
        "hash",
        (
            Field(
                "<partition>",
                "<next_offset>:<clock_ms>:<written_ms>",
                "all interactions below next_offset are counted; the latest one's time; wall clock of the write",
            ),
            Field("partitions", "<number>", "of the topic; while one of them is missing, counts are incomplete"),
        ),
        "interactions worker (beacon.lua)",
        "readout, interactions worker",
        "for ever",
    ),
)


def markdown_table() -> str:
    """The contract as the table that docs/redis.md shows."""
    lines = [
        "| key | type | field | value | meaning | written by | read by | life time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in KEYSPACE:
        for i, field in enumerate(entry.fields):
            first = i == 0
            cells = (
                f"`{entry.key}`" if first else "",
                entry.kind if first else "",
                f"`{field.name}`" if field.name else "",
                f"`{field.value}`",
                field.meaning,
                entry.writer if first else "",
                entry.readers if first else "",
                entry.lifetime if first else "",
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
