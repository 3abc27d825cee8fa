"""A fixed piece of work like a worker's, timed: how fast is this machine, beside the one of the coefficients?"""

from __future__ import annotations

from time import perf_counter, thread_time

import msgspec
import numpy as np
import orjson

from memberstream.stream.sizing.shape import Shape, documents

_SIDE_BY_SIDE = 100


def yardstick_us(seconds: float = 1.0) -> float:
    """Return the µs of processor time of one piece: the mean over pieces of this thread, for about so many seconds.

    A piece decodes, changes and encodes 100 documents and takes some steps of NumPy over 100 rows.
    """
    values = [orjson.dumps(document) for document in documents(Shape(1), seed=1)[:_SIDE_BY_SIDE]]
    end, began, n = perf_counter() + seconds, thread_time(), 0
    while n == 0 or perf_counter() < end:
        _piece(values)
        n += 1
    return 1e6 * (thread_time() - began) / n


def _piece(values: list[bytes]) -> None:
    found = [orjson.loads(value) for value in values]
    for document in found:
        document["n0"] = document["n1"] + sum(item["amount"] for item in document["items"])
    for document in found:
        msgspec.msgpack.decode(msgspec.msgpack.encode(document))
    x = np.array([[document[f"n{n}"] for n in range(10)] for document in found])
    for _ in range(20):
        np.log1p(np.maximum(x, 0.0)).take((0, 3, 5), axis=1).sum(axis=1)
