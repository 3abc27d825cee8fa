"""The Redis contract with readers as a table: each key, its fields and formats, who writes and reads it, its life time.

Law: docs/redis.md holds the same table and a test compares the two. The names are those of keys.py.
"""

from dataclasses import dataclass

from .formats import BEACON_FORMAT, BEHIND_FORMAT, DOOR_FORMAT, INSTALLATION_FORMAT, PARTITIONS, SIZES_FORMAT
from .keys import Keys

_KEYS = Keys()  # the table shows the default prefix


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a hash; or the whole value of a string, then `name` is empty."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of the contract."""

    key: bytes
    kind: str
    fields: tuple[Field, ...]
    writer: str
    readers: str
    lifetime: str


KEYSPACE: tuple[Entry, ...] = (
    Entry(
        _KEYS.member(b"<member_id>"),
        "string",
        (Field("", "<pos>\\|<model>@<version>=<cluster>:<since_ms>…", "the member's row: see below"),),
        "worker (write.lua, list.lua, forget.lua)",
        "look-ups",
        "for ever; a tombstone 24 h",
    ),
    Entry(
        _KEYS.live,
        "hash",
        (Field("<model>", "<version>", "the version that readers use. A model without a live version isn't there"),),
        "worker, `model promote` (models.lua)",
        "look-ups",
        "for ever",
    ),
    Entry(
        _KEYS.models,
        "hash",
        (
            Field(
                "<model>@<version>",
                '{"type":…,"clusters":{"<cluster>":"<name>",…}}',
                "names for readers, also of candidates. Type `list`: uploaded, not computed",
            ),
        ),
        "worker, `model promote` (models.lua)",
        "look-ups",
        "until retired",
    ),
    Entry(
        _KEYS.campaigns,
        "hash",
        (
            Field(
                "<campaign>",
                '{"model":…,"clusters":[…],"from":…,"until":…,"holdout":…,"state":…}',
                "who sees the campaign; rules and types: campaigns.md",
            ),
        ),
        "worker, `campaign set` (models.lua)",
        "look-ups",
        "until deleted",
    ),
    Entry(
        _KEYS.known,
        "string",
        (
            Field(
                "",
                "<offset>",
                "up to which step of the models' log `live`, `models` and `campaigns` go. A writer that knows less is "
                "refused",
            ),
        ),
        "worker, `model promote`, `campaign set` (models.lua)",
        "look-ups, worker",
        "for ever",
    ),
    Entry(
        _KEYS.scored,
        "hash",
        (
            Field(
                "<partition>",
                "<offset>:<remaining>[:<refused>,…]",
                "up to which step of the models' log all members are scored; about how many members are still to be "
                "looked at; offsets of the versions that the worker can't use",
            ),
        ),
        "worker",
        "`model publish --wait`, `model promote`",
        "for ever",
    ),
    Entry(
        _KEYS.behind,
        "hash",
        (
            Field(
                "<partition>",
                BEHIND_FORMAT,
                "events that have arrived and aren't applied; members that have a document; members of these that "
                "lack a version although the partition is scored; when this was written. Empty: not known yet",
            ),
        ),
        "worker",
        "`model wait`, `model promote`, `doctor`",
        "for ever",
    ),
    Entry(
        _KEYS.sizes,
        "hash",
        (
            Field(
                "<partition>",
                SIZES_FORMAT,
                "how many members with a document are in each cluster of each computed version, and when this was "
                "written. Add up the partitions. One that was written more than 30 s ago is of a worker that is gone",
            ),
        ),
        "worker",
        "`console`",
        "for ever",
    ),
    Entry(
        _KEYS.doors,
        "hash",
        (
            Field(
                "<partition>",
                DOOR_FORMAT,
                "where the partition's worker answers who asks for a member's state and knows the secret, and when "
                "this was written (console.md). Only with `MEMBERSTREAM_QUERY_SECRET`",
            ),
        ),
        "worker",
        "`console`, `explain`",
        "for ever",
    ),
    Entry(
        _KEYS.epoch,
        "string",
        (Field("", "<completed_ms>", "when the projection was complete. Absent: it is being rebuilt"),),
        "worker (finish.lua)",
        "look-ups, worker",
        "for ever",
    ),
    Entry(
        _KEYS.built,
        "hash",
        (Field("<partition>", "<token> or done:<token>", "who builds the partition, and whether it is done"),),
        "worker (begin, finish.lua)",
        "worker",
        "only while building",
    ),
    Entry(
        _KEYS.witness,
        "string",
        (
            Field(
                "",
                "<token>",
                "marks scripts that only one process of Redis knows: the one that workers wrote to last. A process "
                "that doesn't know them holds data of an earlier moment",
            ),
        ),
        "worker (restart.lua)",
        "worker",
        "for ever",
    ),
    Entry(
        _KEYS.beacons,
        "hash",
        (
            Field(
                "<partition>",
                BEACON_FORMAT,
                "all offsets below next_offset (of this epoch) are applied; the worker's own time; wall clock of the "
                "write",
            ),
        ),
        "worker (beacon.lua)",
        "look-ups, worker",
        "for ever",
    ),
    Entry(
        _KEYS.cells("<campaign>"),
        "hash",
        (
            Field(
                "<partition> <period> <version> <cluster> <0 or 1> <kind> <day> <size>",
                "<members> <events> <sum> <sum of squares>",
                "interactions counted in one partition. Field: when the period of the campaign's terms began (ms), "
                "label of the model version, cluster, whether the member was held out (1), kind, day of the exposure "
                "(since 1970 in UTC), bucket of the member's sum. Value: members, events; over the members, the sum of "
                "each one's sum of values and of its square, in millionths: whole numbers, as long as they need to be. "
                "Add up the partitions: interactions.md",
            ),
            Field(
                "<partition>",
                "<term>",
                "of the latest owner that wrote the partition's counts. An older one is refused",
            ),
        ),
        "interactions worker (counts.lua)",
        "readout",
        "for ever",
    ),
    Entry(
        _KEYS.counts("<campaign>"),
        "hash",
        (
            Field(
                "<partition> <version> <cluster> <0 or 1> <kind> <day>",
                "<members> <events> <sum> <sum of squares> <values>",
                "what versions before counted, by the first interaction with a campaign instead of the earliest "
                "impression, and by the day of each event. Nothing is added any more",
            ),
            Field(
                "<partition>",
                "<term>",
                "of the latest owner that wrote the partition's counts. An older one is refused",
            ),
        ),
        "interactions worker (counts.lua)",
        "readout",
        "for ever",
    ),
    Entry(
        _KEYS.counted,
        "hash",
        (
            Field(
                "<partition>",
                BEACON_FORMAT,
                "all interactions below next_offset are counted; the time of the latest; wall clock of the write",
            ),
            Field(
                PARTITIONS.decode(),
                "<number>",
                "how many the topic has. While one of them is missing here, counts are incomplete",
            ),
        ),
        "interactions worker (beacon.lua)",
        "readout, interactions worker",
        "for ever",
    ),
    Entry(
        _KEYS.installation,
        "string",
        (
            Field(
                "",
                INSTALLATION_FORMAT,
                "whose keys these are: whoever has another id writes nothing here. Whoever finds none writes its own",
            ),
        ),
        "workers, commands that write (owner.lua)",
        "workers, commands, `doctor`",
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
                f"`{entry.key.decode()}`" if first else "",
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
