"""Visits: work on many things at one destination, over one connection, that is tried once."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

from orchestrator.config.destinations import Directory, Sftp
from orchestrator.delivery.session import Session
from orchestrator.delivery.tasks import for_each
from orchestrator.delivery.uploads import LostError
from orchestrator.errors import DeliveryError

_T = TypeVar("_T")


async def visit(
    destination: Sftp | Directory,
    items: Iterable[_T],
    begin: Callable[[Session | Directory], Callable[[_T], Awaitable[None]]],
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
async def _arrived(destination: Sftp | Directory) -> AsyncIterator[Session | Directory]:
    if isinstance(destination, Directory):
        yield destination
        return
    async with Session.open(destination) as session:
        yield session
