"""Visits: work at several destinations at once, over one connection each."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from orchestrator.config.destinations import DestinationConfig
from orchestrator.delivery.destination import (
    Destination,
    LostError,
    StoredKind,
    connect,
)
from orchestrator.errors import DeliveryError

_T = TypeVar("_T")

_AT_ONCE = 32  # at one destination: on an SFTP channel, more is no faster at 20 ms round trip


async def visit(
    config: DestinationConfig,
    items: Iterable[_T],
    work: Callable[[Destination, _T], Awaitable[None]],
) -> list[DeliveryError]:
    """Open a destination and await `work` for every item. Return the errors, and raise none.

    If the destination refuses an item, the others continue; a lost connection ends all of them.
    """
    errors: list[DeliveryError] = []
    try:
        async with connect(config) as destination:

            async def attempt(item: _T) -> None:
                try:
                    await work(destination, item)
                except LostError:
                    raise
                except DeliveryError as error:
                    errors.append(error)

            await for_each(items, attempt)
    except DeliveryError as error:
        errors.append(error)
    return errors


async def for_each(items: Iterable[_T], work: Callable[[_T], Awaitable[None]]) -> None:
    """Await `work` for every item, up to 32 at a time, started in the order of the items."""
    queue = deque(items)

    async def serve() -> None:
        while queue:
            await work(queue.popleft())

    await _together(serve() for _ in range(min(_AT_ONCE, len(queue))))


def run_by_name(jobs: Mapping[str, Coroutine[Any, Any, _T]]) -> dict[str, _T]:
    """Run the jobs at the same time, and return the result of each under its name.

    The first job that raises cancels the others.
    """

    async def run() -> list[_T]:
        return await _together(jobs.values())

    return dict(zip(jobs, asyncio.run(run()), strict=True))


async def _together(jobs: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    # Not asyncio.TaskGroup: it would wrap the error that callers catch in an ExceptionGroup.
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def find_any(requests: Mapping[str, tuple[DestinationConfig, Collection[str]]]) -> dict[str, str]:
    """Return, by destination, one of the given paths at which a file exists; raise nothing.

    A destination that has a file at none of its paths, or that cannot be reached, is left out.
    """

    async def find(config: DestinationConfig, paths: Collection[str]) -> set[str]:
        found: set[str] = set()

        async def look(destination: Destination, path: str) -> None:
            stored = await destination.find(path)
            if stored and stored.kind is StoredKind.FILE:
                found.add(path)

        await visit(config, paths, look)
        return found

    found = run_by_name({name: find(*request) for name, request in requests.items()})
    return {name: min(paths) for name, paths in found.items() if paths}
