"""Tasks side by side: the first that raises ends the others."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

_T = TypeVar("_T")

_AT_ONCE = 32  # at one destination; on an SFTP channel more gains nothing at 20 ms


async def by_name(jobs: Mapping[str, Coroutine[Any, Any, _T]]) -> dict[str, _T]:
    """Return what each job returns, under its name."""
    return dict(zip(jobs, await _together(jobs.values()), strict=True))


async def for_each(items: Iterable[_T], work: Callable[[_T], Awaitable[None]]) -> None:
    """Work on every item, on some tens at a time; they are begun in their order."""
    queue = deque(items)

    async def serve() -> None:
        while queue:
            await work(queue.popleft())

    await _together(serve() for _ in range(min(_AT_ONCE, len(queue))))


async def _together(jobs: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
