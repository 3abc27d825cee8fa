"""Uploaded lists as model versions: what the models' log holds of one, read back or refused."""

from __future__ import annotations

from typing import Any

import pytest
from authored import defined

from memberstream.models.definition import read_definition
from memberstream.models.list_version import ListVersion, name_clusters, parse_list
from memberstream.models.model import Cluster
from memberstream.models.model_file import parse
from memberstream.models.problems import ModelFileError

LISTED = ListVersion(
    "buyers",
    3,
    "tried in May",
    "4f00",
    1_700_000_000_000,
    (5, 0),
    (9, 0),
    4,
    (Cluster(1, "low"), Cluster(2, "2")),
    "01a2",
)


def changed(**values: Any) -> dict[str, Any]:
    """Return the definition with values replaced, those of `model` by their names."""
    definition = LISTED.definition()
    for key, value in values.items():
        (definition if key in definition else definition["model"])[key] = value
    return definition


@pytest.mark.parametrize("listed", [LISTED, ListVersion("a", 1, "", "t", 0, (0,))])
def test_a_definition_reads_as_it_was_written(listed: ListVersion) -> None:
    """A published list, and one that is being uploaded: without an end, rows and clusters."""
    assert parse_list(listed.definition()) == listed
    assert read_definition(listed.definition()).is_list


def test_a_definition_of_before_topics_were_told_apart_is_read() -> None:
    """It says of no topic that it is the one."""
    definition = LISTED.definition()
    del definition["model"]["topic_id"]
    assert parse_list(definition).topic_id == ""


def test_where_a_lists_rows_are() -> None:
    """Its prefix has label and token; a partition without rows needn't be read, unless it isn't known yet."""
    assert (LISTED.label, LISTED.prefix) == ("buyers@3", b"buyers@3/4f00")
    assert [LISTED.has_rows_in(p) for p in (0, 1)] == [True, False]
    assert ListVersion("a", 1, "", "t", 0, (0,)).has_rows_in(0)


def test_a_cluster_without_a_name_is_called_by_its_number() -> None:
    """Names are the author's choice."""
    assert name_clusters([0, 7], {7: "high"}) == (Cluster(0, "0"), Cluster(7, "high"))


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        ([], "file: expected an object, found"),
        (changed(more=1) | {"more": 1}, "more: expected one of"),
        (changed(format=2), "format: expected the format number 1"),
        (changed(name="Bu"), "name: expected a name"),
        (changed(version=0), "version: expected a version"),
        (changed(description=1), "description: expected a text"),
        (changed(model=1), "model: expected an object"),
        (changed(type="kmeans"), "model.type: expected list"),
        (changed(token=1), "model.token: expected a text"),
        (changed(since_ms=-1), "model.since_ms: expected a time in ms"),
        (changed(first=[0, "x"]), r"model.first\[1\]: expected an offset"),
        (changed(end=[1]), "model.end: expected an offset per partition, 2 in all"),
        (changed(topic_id=1), "model.topic_id: expected a text"),
        (changed(n_rows=1.5), "model.n_rows: expected a number of rows"),
        (changed(clusters=[]), "clusters: expected a list of clusters"),
    ],
)
def test_a_definition_that_is_no_list_is_refused(definition: Any, problem: str) -> None:
    """With its path: a newer memberstream may have written it."""
    with pytest.raises(ModelFileError, match=problem):
        parse_list(definition)


def test_a_model_file_is_never_a_list() -> None:
    """Lists are uploaded; a file of that type is refused, and what isn't one isn't taken for one."""
    assert not defined("m", 1, type_="kmeans").is_list
    with pytest.raises(ModelFileError, match=r"model\.type: expected a type, one of logistic"):
        parse(changed() | {"predictors": []})
