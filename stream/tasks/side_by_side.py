"""Coroutines run side by side, of which none is left running when the caller goes on.

Law: a failure is raised as it is. (A TaskGroup would wrap it in a group, but Faust's adapter tells failures apart by
their type.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
U = TypeVar("U")


async def together(publishing: Coroutine[Any, Any, T], writing: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Run two coroutines side by side.

    If publishing fails, writing is ended. If writing fails, publishing is waited for: what was sent can't be called
    back, and whoever handles the batch again must know where the changelog ends.
    """
    task = asyncio.ensure_future(writing)  # publishing needs none: a task costs a live event some turns of the loop
    try:
        return await publishing, await task
    except BaseException:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


async def side_by_side(coroutines: Iterable[Coroutine[Any, Any, Any]]) -> Any:
    """Run coroutines side by side; if one fails, end the others."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return tuple(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
