"""A model file in a notebook: what it is, whether it is proven, and which class became which cluster."""

from __future__ import annotations

from typing import Any

from memberstream.models.html import notes, table, title
from memberstream.models.wording import counted, percent_of


def html_of(file: Any) -> str:
    """Return a `ModelFile` as HTML: the same that `print` says, as a table."""
    model, n = file.model, file.n_verified
    proof = (
        f"verified on {counted(n, 'document')} against your {', '.join(file.proven_by)}"
        if file.proven_by
        else f"{counted(n, 'document')}, unproven against your own numbers: give x=, probabilities= or clusters_of="
    )
    what = (
        f": {model.scorer.type} over {counted(len(model.inputs), 'column')}, "
        f"{counted(len(model.examples), 'example')}; {proof}"
    )
    rows = [
        (b.label, f"{b.cluster_id} {b.name}", f"{b.n_documents:,}", percent_of(b.n_documents, n)) for b in file.classes
    ]
    return title(model.label, what) + table(("class", "cluster", "documents", "share"), rows) + notes(file.notes)
