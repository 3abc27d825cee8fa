"""An uploaded list as a model version: its author says who is in which cluster; nothing is computed.

Laws:
- A list's rows lie in the lists' topic (stream/lists/rows.py) under a prefix that holds the upload's token. So nobody
  reads the rows of an upload that was never published.
- Its definition in the models' log names the clusters. It also says in which topic the rows are, and where in each
  partition they begin and end.
- A model file is never a list: `model_file.parse` refuses the type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memberstream.models.definition import LIST
from memberstream.models.model import Cluster, label
from memberstream.models.model_file import FORMAT, MAX_VERSION, parse_clusters, parse_name
from memberstream.models.problems import ModelFileError, Node

_OFFSETS = 2**53


@dataclass(frozen=True, slots=True)
class ListVersion:
    """An uploaded list, or one that is being uploaded: then `end` is empty and there are no clusters yet.

    Attributes:
        token: of the upload.
        since_ms: when it was uploaded; its members are in their clusters since then.
        first: partition of the lists' topic → an offset at which its rows begin, or one before that.
        end: partition → the offset after its last row.
        n_rows: as uploaded.
        topic_id: of the topic with the rows, in hexadecimal; "" if the broker gives topics no id.
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
        """The beginning of the keys of its rows. A zero byte and the member id follow."""
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
                "type": LIST,
                "token": self.token,
                "since_ms": self.since_ms,
                "first": list(self.first),
                "end": list(self.end),
                "n_rows": self.n_rows,
                "topic_id": self.topic_id,
            },
            "clusters": [{"id": cluster.id, "name": cluster.name} for cluster in self.clusters],
        }


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
    if model.value["type"] != LIST:
        model.child("type").problem(LIST)
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
    """Return the clusters of a list's ids, ascending. A cluster without a name is called by its number."""
    return tuple(Cluster(cluster, names.get(cluster, str(cluster))) for cluster in sorted(ids))


def _offsets(node: Node, length: int | None = None) -> tuple[int, ...]:
    found = [element.integer(0, _OFFSETS, "an offset") for element in node.array("an offset per partition", length)]
    return tuple(offset for offset in found if offset is not None)
