"""What a notebook's author meets: tables, bars, and arguments of the wrong kind, each with a way out."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import signal
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from unit import error_texts

from memberstream.models.compare import Comparison, Flip, Shift
from memberstream.models.model import Cluster
from memberstream.stream import notebook
from memberstream.stream.authoring.comparing import Compared, Contrast, Mover, Reached
from memberstream.stream.authoring.coverage import Coverage
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.terminal.cell import Cell


def test_a_comparison_as_a_table() -> None:
    """Who agrees, who would move, why; campaigns and probabilities below."""
    old, new = (Cluster(0, "low"), Cluster(1, "<high>")), (Cluster(0, "low"), Cluster(1, "<high>"))
    p = np.array([0.25, 0.75])
    comparison = Comparison(
        old, new, [[10, 2, 0], [1, 7, 0], [0, 0, 0]], 20, 17, (Flip(0, 1, 2),), (Shift("", 0.1, 0.2, p, p),), ()
    )
    reasons = (Contrast("x", 1.0, 2.0, 0.5, 0.6), Contrast("y", 0.125, None, 0.5, 0.0))
    movers = (Mover("ann", 0, 0, 1, reasons),)
    found = Compared("m@1", "m@2", comparison, movers, (Reached("spring", 8, 9),), 0)
    html = found._repr_html_()
    assert "<b>m@2 against m@1</b>: 20 members under both, as of 1970-01-01T00:00:00Z" in html
    assert "17 agree (85.0%), 3 would move (15.0%)" in html
    assert "&lt;high&gt;" in html
    assert "<high>" not in html
    for cell in ("spring", "x 2, y 0.125", "ann"):
        assert f">{cell}</td>" in html
    assert "probability: mean 0.5000 → 0.5000, PSI 0.100, KS 0.200" in html
    empty = Comparison(old, new, [[0, 0, 0]] * 3, 0, 0, (), (), ())
    assert "0 members under both" in Compared("m@1", "m@2", empty, (), ())._repr_html_()


def test_coverage_as_a_bar() -> None:
    """How many partitions are scored, and what is in the way."""
    html = Coverage(4, (3,), 1_200, 0, (), 5, 60_000, (), (2,))._repr_html_()
    assert '<progress value="3" max="4">' in html
    assert ">1,200</td>" in html
    assert ">partitions held</td>" in html
    assert "complete" not in html
    assert "complete" in Coverage(4, (), 0, 0, (), 0, 0, ())._repr_html_()


class _Place:
    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, shown: Any) -> None:
        self.shown.append(shown._repr_html_())


def test_progress_in_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a kernel one output is replaced, not more than a few times a second; the last state is always shown. Nobody
    else sees anything."""
    place = _Place()
    displayed: list[str] = []

    def display(html: Any, *, display_id: bool) -> _Place:
        displayed.append(html._repr_html_())
        return place

    kernel = SimpleNamespace(kernel=object())
    ipython = SimpleNamespace(get_ipython=lambda: kernel, display=SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    cell = Cell("members")
    for done in range(1, 1_001):
        cell(done, 1_000)
    assert len(displayed) == 1
    assert place.shown[-1].count("100%") == 1
    assert len(place.shown) < 100
    monkeypatch.setattr(kernel, "kernel", None)  # IPython in a terminal
    Cell("members")(1, 1)
    monkeypatch.delitem(sys.modules, "IPython")
    Cell("members")(1, 1)
    assert len(displayed) == 1


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: notebook.publish(None), "expected a model file, found None. Next: publish(from_estimator("),  # type: ignore[arg-type]
        (lambda: notebook.publish(object()), "expected a model file, found object"),  # type: ignore[arg-type]
        (lambda: notebook.publish({"format": 1}), "name: expected a value"),
        (lambda: notebook.compare(None, "m"), "expected a model file, found None"),  # type: ignore[arg-type]
        (lambda: notebook.compare("m", "n", at="soon"), "at: expected a time with its zone, found 'soon'"),
        (lambda: notebook.compare("m", "n", at=pd.Timestamp("2026-01-01 12:00")), "at: expected a time with its zone"),
        (lambda: notebook.upload(None, name="l"), "rows: expected pairs of member id and cluster, found None"),  # type: ignore[arg-type]
        (lambda: notebook.upload(pd.DataFrame({"member_id": ["a"]}), name="l"), "rows: no column cluster. Next:"),
    ],
)
def test_arguments_of_the_wrong_kind(call: Any, problem: str) -> None:
    """They are refused before anything is asked of a server, with what to write instead."""
    with pytest.raises((PublishError, ValueError)) as error:
        call()
    assert problem in str(error.value)


#: Modules whose refusals reach who calls `publish`, `compare`, `upload` or `change_history`.
REACHED = re.compile(
    r"stream/(files/(?!training)|lists/|registry/(?!renewal)|authoring/(?!campaigning|repairing|snapshots|telling))"
)
#: Something to run in a terminal has its own options.
TO_RUN = re.compile(r"`memberstream [^`]*`|memberstream( [a-z]+)+ --[a-z-]+|\S+\.sh .*")


def test_refusals_name_arguments_of_python() -> None:
    """`--force` would be a syntax error in a cell. Each option in a text that comes so far has its word in Python."""
    found, module = [], ""
    for line in error_texts.listed().splitlines():
        if not line.startswith(" "):
            module = line
        elif REACHED.match(module) and "--" in TO_RUN.sub("", line):
            found.append(line.strip())
    assert len(found) > 10
    assert [said for said in map(notebook.in_python, found) if "--" in TO_RUN.sub("", said)] == []
    arguments = inspect.signature(notebook.publish).parameters.keys() | inspect.signature(notebook.upload).parameters
    for said in map(notebook.in_python, found):
        assert set(re.findall(r"\b([a-z_]+)=", said)) <= arguments, said


def test_a_refusal_reaches_its_reader_in_python() -> None:
    """Whatever the error's type; and what `model promote` would say of an uploaded list keeps its options."""

    async def refused(text: str) -> None:
        raise PublishError(text)

    with pytest.raises(PublishError, match=r"max_flips=…, or force=True$"):
        notebook._run(refused("too many. Next: --max-flips, or --force"))
    with pytest.raises(PublishError, match=r"or --force$"):
        notebook._run(
            refused("l@1 is uploaded, but `memberstream model promote l@1` is refused: Next: wait, or --force")
        )


def test_ctrl_c_ends_a_call_and_says_what_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work runs in another thread, which hears nothing of a signal."""
    is_waited_for, noted = threading.Event(), list[str]()

    class Publishing:
        async def wait(self, entry: object) -> AsyncIterator[Coverage]:
            yield Coverage(1, (0,), 0, 0, (), 0, 0, (0,))
            await asyncio.to_thread(is_waited_for.wait)
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()

    class Waited(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            is_waited_for.set()
            return super().result(timeout)

    monkeypatch.setattr("concurrent.futures.thread._base.Future", Waited)
    monkeypatch.setattr(notebook, "note", noted.append)
    version: Any = SimpleNamespace(label="level@2")
    publishing: Any = Publishing()
    with pytest.raises(KeyboardInterrupt):
        notebook._run(notebook._scored(publishing, version, Cell("members scored")))
    [said] = noted
    assert said.startswith("stopped: level@2 is published as a candidate, and the workers go on. Next: memberstream")
