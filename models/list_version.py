"""An uploaded list as a model version: who is in which cluster, as its author says it; nothing is computed.

Laws: a list's rows lie in the lists' topic (stream/list_rows.py) under a prefix that holds the upload's token, so the
rows of an upload that was never published are read by nobody. Its definition in the models' log names the clusters and
says where the rows begin and end: in which topic, and where in each of its partitions. A model file is never a list:
`model_file.parse` refuses the type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.model import Cluster, label
from models.model_file import FORMAT, MAX_VERSION, parse_clusters, parse_name
from models.problems import ModelFileError, Node

TYPE = "list"
_OFFSETS = 2**53


@dataclass(frozen=True, slots=True)
class ListVersion:
    """An uploaded list, or one that is being uploaded: then `end` is empty and there are no clusters yet.

    Attributes:
        token: of the upload.
        since_ms: when it was uploaded, which is since when its members are in their clusters.
        first: partition of the lists' topic → offset at which its rows begin, or before.
        end: partition → the offset after its last row.
        n_rows: as uploaded.
        topic_id: of the topic that the rows were written to, in hexadecimal; "" where the broker gives topics none.
    """

    name: str
    version: int
    description: str
    token: str
    since_ms: int
    first: tuple[int, ...]
    end: tuple[int, ...] = ()
    n_rows: int = 0
    clusters: tuple[Cluster, ...] = ()
    topic_id: str = ""

    @property
    def label(self) -> str:
        """name@version."""
        return label(self.name, self.version)

    @property
    def prefix(self) -> bytes:
        """What the keys of its rows begin with, up to a zero byte; then comes the member id."""
        return f"{self.label}/{self.token}".encode()

    def has_rows_in(self, partition: int) -> bool:
        """Return whether rows may lie in a partition of the topic."""
        return not self.end or self.end[partition] > self.first[partition]

    def definition(self) -> dict[str, Any]:
        """Return the JSON object of the models' log."""
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "model": {
                "type": TYPE,
                "token": self.token,
                "since_ms": self.since_ms,
                "first": list(self.first),
                "end": list(self.end),
                "n_rows": self.n_rows,
                "topic_id": self.topic_id,
            },
            "clusters": [{"id": cluster.id, "name": cluster.name} for cluster in self.clusters],
        }


def is_list(definition: Mapping[str, Any]) -> bool:
    """Return whether a published definition is a list's."""
    model = definition.get("model")
    return isinstance(model, dict) and model.get("type") == TYPE


def parse_list(definition: Any) -> ListVersion:
    """Return the list of a definition.

    Raises:
        ModelFileError: with all its problems; a newer memberstream may have written it.
    """
    problems: list[Any] = []
    root = Node(definition, "", problems)
    if not root.object({"format", "name", "version", "description", "model", "clusters"}):
        raise ModelFileError(problems)
    if definition["format"] != FORMAT:
        root.child("format").problem(f"the format number {FORMAT}")
    name = parse_name(root.child("name"))
    version = root.child("version").integer(1, MAX_VERSION, "a version")
    description = root.child("description").text()
    model = root.child("model")
    if not model.object({"type", "token", "since_ms", "first", "end", "n_rows"}, {"topic_id"}):
        raise ModelFileError(problems)
    if model.value["type"] != TYPE:
        model.child("type").problem(TYPE)
    token = model.child("token").text()
    since_ms = model.child("since_ms").integer(0, _OFFSETS, "a time in ms")
    first = _offsets(model.child("first"))
    is_complete = model.value["end"] != []
    end = _offsets(model.child("end"), len(first)) if is_complete else ()
    n_rows = model.child("n_rows").integer(0, _OFFSETS, "a number of rows")
    clusters = parse_clusters(root.child("clusters")) if is_complete else ()
    topic_id = "" if (told := model.get("topic_id")) is None else told.text()
    if problems or name is None or version is None or token is None or since_ms is None or n_rows is None:
        raise ModelFileError(problems)
    return ListVersion(name, version, description or "", token, since_ms, first, end, n_rows, clusters, topic_id or "")


def name_clusters(ids: Sequence[int], names: Mapping[int, str]) -> tuple[Cluster, ...]:
    """Return the clusters of a list's ids, ascending; one without a name is called by its number."""
    return tuple(Cluster(cluster, names.get(cluster, str(cluster))) for cluster in sorted(ids))


def _offsets(node: Node, length: int | None = None) -> tuple[int, ...]:
    found = [element.integer(0, _OFFSETS, "an offset") for element in node.array("an offset per partition", length)]
    return tuple(offset for offset in found if offset is not None)
