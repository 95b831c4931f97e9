"""Tasks side by side: the first that raises ends the others."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.config.destinations import Directory, Sftp
from orchestrator.delivery.uploads import LostError
from orchestrator.errors import DeliveryError

if TYPE_CHECKING:
    from orchestrator.delivery.sftp.session import Session

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


async def visit(
    destination: Sftp | Directory,
    items: Iterable[_T],
    begin: Callable[["Session | Directory"], Callable[[_T], Awaitable[None]]],
) -> list[DeliveryError]:
    """Do with every item what `begin` returns; return what went wrong, and raise nothing.

    A refusal ends the work on its item alone, a lost connection that on all of them.
    """
    errors: list[DeliveryError] = []
    try:
        async with _arrived(destination) as at:
            work = begin(at)

            async def attempt(item: _T) -> None:
                try:
                    await work(item)
                except LostError:
                    raise
                except DeliveryError as error:
                    errors.append(error)

            await for_each(items, attempt)
    except DeliveryError as error:
        errors.append(error)
    return errors


@asynccontextmanager
async def _arrived(destination: Sftp | Directory) -> AsyncIterator["Session | Directory"]:
    if isinstance(destination, Directory):
        yield destination
        return
    from orchestrator.delivery.sftp.session import Session  # noqa: PLC0415 - asyncssh, which folders do not need

    async with Session.open(destination) as session:
        yield session
