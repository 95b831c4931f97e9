"""Delivery notes: the ledger learns of each file before it gets its name, and when it has it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

from orchestrator.ledger import Ledger, Place

if TYPE_CHECKING:
    from orchestrator.delivery import Upload

_ARRIVALS_EVERY = 1.0  # seconds


class DeliveryNotes:
    """What one delivery tells the ledger; each transaction costs a flush, so files share them."""

    def __init__(self, ledger: Ledger, place: Callable[[str, "Upload"], Place]) -> None:
        """Take the ledger, and what tells where a destination's upload goes."""
        self._ledger = ledger
        self._place = place
        self._renaming: list[Place] = []
        self._arrived: dict[Place, datetime] = {}
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
