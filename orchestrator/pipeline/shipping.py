"""Shipping: files of the outbox go to their destinations, and the ledger learns what arrived."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.config import Config
from orchestrator.config.exports import COMPLETION, File
from orchestrator.errors import DeliveryError
from orchestrator.files.outbox import Outbox
from orchestrator.ledger import Delivery, DeliveryKey, Entry, Ledger
from orchestrator.pipeline.window_files import WindowFiles

if TYPE_CHECKING:
    from orchestrator.delivery import Outcome, Upload
import asyncio
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.delivery import Upload


class Shipping:
    """Delivers products; a destination out of reach is not tried again in this run."""

    def __init__(self, config: Config, *, outbox: Outbox, ledger: Ledger) -> None:
        """Take what it works with."""
        self._config = config
        self._outbox = outbox
        self._ledger = ledger
        self._down: dict[str, DeliveryError] = {}

    def ship(self, products: Sequence[WindowFiles]) -> list[WindowFiles]:
        """Deliver what is not yet delivered, each product's files in order.

        Returns the products as the ledger knows them now, with the error of those that did not
        arrive everywhere.
        """
        from orchestrator.delivery import (  # noqa: PLC0415 - not where nothing is due
            UnreachableError,
            Upload,
        )

        errors: dict[int, list[DeliveryError]] = {}
        owners: dict[tuple[str, str], int] = {}
        batches: dict[str, list[list[Upload]]] = {}
        members: dict[str, list[int]] = {}
        for number, product in enumerate(products):
            waiting = [item for item in product.deliveries if item.delivered_at is None]
            earlier = self._earlier(product.job.entry)
            for name in dict.fromkeys(item.destination for item in waiting):
                if name in self._down:
                    errors.setdefault(number, []).append(self._down[name])
                    continue
                here = [item for item in waiting if item.destination == name]
                uploads = [
                    Upload(self._outbox.path(item.file.path), item.file, item.rename_sent)
                    for item in here
                ]
                uploads[0] = replace(
                    uploads[0],
                    abandoned=_abandoned(here, earlier),
                    retracted=_retracted(here, earlier),
                )
                owners |= {(name, upload.file.path): number for upload in uploads}
                batches.setdefault(name, []).append(uploads)
                members.setdefault(name, []).append(number)

        def place(name: str, upload: Upload) -> DeliveryKey:
            return DeliveryKey(
                products[owners[name, upload.file.path]].job.entry, name, upload.file.path
            )

        outcomes = self._delivered(batches, place)
        for name, results in outcomes.items():
            for number, outcome, uploads in zip(members[name], results, batches[name], strict=True):
                if outcome.error:
                    error = DeliveryError(f"destination '{name}': {outcome.error}")
                    errors.setdefault(number, []).append(error)
                if kept := {*uploads} - {*outcome.uploads_done, outcome.unsure}:
                    self._ledger.renaming([place(name, each) for each in kept], sent=False)
            if all(isinstance(outcome.error, UnreachableError) for outcome in results):
                self._down[name] = errors[members[name][-1]][-1]
        whole = [p for number, p in enumerate(products) if number not in errors]
        self._ledger.finish(product.job.entry for product in whole)
        return [
            replace(
                product,
                error=_joined(errors.get(number, ())),
                deliveries=self._ledger.deliveries(product.job.entry),
            )
            for number, product in enumerate(products)
        ]

    def _delivered(
        self,
        batches: Mapping[str, list[list["Upload"]]],
        place: Callable[[str, "Upload"], DeliveryKey],
    ) -> dict[str, list["Outcome"]]:
        """Deliver batches by destination, and note each file's way in the ledger."""
        from orchestrator.delivery import deliver_all  # noqa: PLC0415 - not where nothing is due
        from orchestrator.pipeline.shipping import DeliveryNotes  # noqa: PLC0415 - as above

        notes = DeliveryNotes(self._ledger, place)
        try:
            return deliver_all(
                {name: (self._config.destinations[name], found) for name, found in batches.items()},
                notes.published,
                on_renaming=notes.renaming,
            )
        finally:
            notes.close()

    def _earlier(self, entry: Entry) -> list[Delivery]:
        return self._ledger.earlier(entry) if entry.revision > 1 else []


def _abandoned(waiting: Sequence[Delivery], earlier: Sequence[Delivery]) -> tuple[File, ...]:
    """Return the files of earlier revisions that never arrived: part files of them may be left."""
    wanted = {(item.file.path, item.file.sha256) for item in waiting}
    return tuple(
        item.file
        for item in earlier
        if item.delivered_at is None
        and item.destination == waiting[0].destination
        and (item.file.path, item.file.sha256) not in wanted
    )


def _retracted(waiting: Sequence[Delivery], earlier: Sequence[Delivery]) -> tuple[File, ...]:
    """Return the completion files that must go before the first data file gets its name.

    Those of an earlier delivery would say of the new files what is true of the old ones.
    """
    if waiting[0].file.kind in COMPLETION:
        return ()
    here = [item for item in earlier if item.destination == waiting[0].destination]
    files = [item.file for item in (*waiting, *here) if item.file.kind in COMPLETION]
    return tuple({file.path: file for file in files}.values())


def _joined(errors: Sequence[DeliveryError]) -> DeliveryError | None:
    """Return one error that tells of every destination that failed, if any did."""
    return DeliveryError(" And ".join(map(str, errors))) if errors else None


_ARRIVALS_EVERY = 1.0  # seconds


class DeliveryNotes:
    """What one delivery tells the ledger; each transaction costs a flush, so files share them."""

    def __init__(self, ledger: Ledger, place: Callable[[str, "Upload"], DeliveryKey]) -> None:
        """Take the ledger, and what tells where a destination's upload goes."""
        self._ledger = ledger
        self._place = place
        self._renaming: list[DeliveryKey] = []
        self._arrived: dict[DeliveryKey, datetime] = {}
        self._writing: asyncio.Future[None] | None = None
        self._noted_at = monotonic()

    async def renaming(self, destination: str, upload: "Upload") -> None:
        """Return once the ledger holds that the file may have got its name.

        With it goes, once a second, what arrived since. Until then that is known as well, for its
        rename was sent and its part file is gone.
        """
        self._renaming.append(self._place(destination, upload))
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write())
        await asyncio.shield(self._writing)

    def published(self, destination: str, upload: "Upload") -> None:
        """Keep that the file is there, until the next transaction."""
        self._arrived[self._place(destination, upload)] = datetime.now(UTC)

    def close(self) -> None:
        """Note what arrived last."""
        if self._arrived:
            self._ledger.renaming([], sent=True, arrived=self._arrived)

    async def _write(self) -> None:
        await asyncio.sleep(0)  # whoever is as far by now comes along
        files, self._renaming, self._writing = self._renaming, [], None
        is_time = monotonic() - self._noted_at >= _ARRIVALS_EVERY
        self._ledger.renaming(files, sent=True, arrived=self._arrived if is_time else None)
        if is_time:
            self._arrived.clear()
            self._noted_at = monotonic()
