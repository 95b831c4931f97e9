"""DeliveryRequest: publish files at their destinations, each whole and each once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from orchestrator.config.destinations import Directory, Sftp
from orchestrator.delivery.batches import Retry, deliver_async, ignore
from orchestrator.delivery.tasks import by_name
from orchestrator.delivery.uploads import Outcome, UnreachableError, Upload

__all__ = [
    "Outcome",
    "Retry",
    "UnreachableError",
    "Upload",
    "deliver_all",
    "deliver_async",
]

DeliveryRequest = tuple[Sftp | Directory, Sequence[Sequence[Upload]]]


def deliver_all(
    deliveries: Mapping[str, DeliveryRequest],
    on_published: Callable[[str, Upload], None],
    *,
    on_renaming: Callable[[str, Upload], Awaitable[None]] = lambda _name, upload: ignore(upload),
    retry: Retry | None = None,
) -> dict[str, list[Outcome]]:
    """Publish at several destinations at once; one that is down does not hold up the others.

    The callbacks get the destination's name and the upload, in this thread; `on_renaming` is
    awaited.
    """
    jobs = {
        name: deliver_async(
            destination,
            batches,
            partial(on_published, name),
            on_renaming=partial(on_renaming, name),
            retry=retry,
        )
        for name, (destination, batches) in deliveries.items()
    }
    return asyncio.run(by_name(jobs))
