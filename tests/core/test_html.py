"""Results as a notebook shows them."""

from __future__ import annotations

import numpy as np
from core.exporting import documents_of, exported
from sklearn.linear_model import LogisticRegression

from memberstream.models.html import notes, progress, table, title

X = np.random.default_rng(3).normal(size=(40, 2))
FITTED = LogisticRegression().fit(X, X[:, 0] > 0)


def test_texts_are_texts() -> None:
    """Names can't become part of a page."""
    shown = (
        table(("<b>",), [("a & <script>", "1")]) + progress("<i>", 1, 0, "<u>") + title("<b>", "<s>") + notes(["<a>"])
    )
    assert "a &amp; &lt;script&gt;" in shown
    for tag in ("<script>", "<i>", "<u>", "<s>", "<a>"):
        assert tag not in shown
    assert '<progress value="1" max="4"></progress> 25%' in progress("rows", 1, 4)


def test_a_model_file_as_a_table() -> None:
    """It says what it is, whether it is proven, and which class became which cluster."""
    proven = exported(FITTED, X)._repr_html_()
    assert "<b>m@1</b>: logistic over 2 columns, 40 examples; verified on 40 documents against your x" in proven
    assert proven.count("<tr>") == 3
    unproven = exported(FITTED, X, documents=documents_of(X))._repr_html_()
    assert "40 documents, unproven against your own numbers: give x=, probabilities= or clusters_of=" in unproven
