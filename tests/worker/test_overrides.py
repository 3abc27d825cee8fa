"""What our classes replace of Faust's, they replace on purpose."""

from __future__ import annotations

from memberstream.stream.faust_batch import app, consumer, consumer_thread, draining, offsets, recovery, store, tables
from memberstream.stream.faust_batch import transport as transports
from memberstream.stream.faust_batch.supported import ATTRIBUTES, METHODS

MODULES = (app, consumer, consumer_thread, draining, offsets, recovery, store, tables, transports)


def test_a_private_name_of_faust_is_replaced_only_if_it_is_listed() -> None:
    """A method of ours that happens to be called like one of Faust's would be called in its place."""
    listed = {path.rpartition(".")[2] for path in METHODS} | {name for names in ATTRIBUTES.values() for name in names}
    ours = [found for module in MODULES for found in vars(module).values() if isinstance(found, type)]
    ours = [found for found in ours if found.__module__ in {module.__name__ for module in MODULES}]
    replaced = {
        f"{found.__name__}.{name}"
        for found in ours
        for base in found.__mro__[1:]
        if not base.__module__.startswith("memberstream")
        for name in vars(found).keys() & vars(base).keys()
        if name.startswith("_") and not name.startswith("__") and name != "_abc_impl" and name not in listed
    }
    assert replaced == set()
    assert len(ours) >= len(MODULES)
