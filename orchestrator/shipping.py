"""Shipping: files of the outbox go to their destinations, and the ledger learns what arrived."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.config import Config
from orchestrator.errors import DeliveryError
from orchestrator.ledger import Entry, Ledger
from orchestrator.outbox import Outbox
from orchestrator.products import Product


class Shipping:
    """Delivers products; a destination out of reach is not tried again in this run."""

    def __init__(self, config: Config, *, outbox: Outbox, ledger: Ledger) -> None:
        """Take what it works with."""
        self._config = config
        self._outbox = outbox
        self._ledger = ledger
        self._down: dict[str, DeliveryError] = {}

    def ship(self, products: Sequence[Product]) -> list[Product]:
        """Deliver what is not yet delivered, each product's files in order.

        Returns the products as the ledger knows them now, with the error of those that did not
        arrive everywhere.
        """
        from orchestrator.delivery import (  # noqa: PLC0415 - not where nothing is due
            UnreachableError,
            Upload,
            deliver_all,
        )

        errors: dict[int, DeliveryError] = {}
        owners: dict[tuple[str, str], int] = {}
        batches: dict[str, list[list[Upload]]] = {}
        members: dict[str, list[int]] = {}
        for number, product in enumerate(products):
            waiting = [item for item in product.deliveries if item.delivered_at is None]
            for name in dict.fromkeys(item.destination for item in waiting):
                if name in self._down:
                    errors[number] = self._down[name]
                    continue
                uploads = [
                    Upload(
                        self._outbox.path(item.path),
                        item.path,
                        item.sha256,
                        item.size,
                        rename_sent=item.rename_sent,
                    )
                    for item in waiting
                    if item.destination == name
                ]
                owners |= {(name, upload.remote): number for upload in uploads}
                batches.setdefault(name, []).append(uploads)
                members.setdefault(name, []).append(number)

        def entry(name: str, upload: Upload) -> Entry:
            return products[owners[name, upload.remote]].job.entry

        outcomes = deliver_all(
            {name: (self._config.destinations[name], found) for name, found in batches.items()},
            lambda name, upload: self._ledger.arrived(entry(name, upload), name, upload.remote),
            on_renaming=lambda name, upload: self._ledger.renaming(
                entry(name, upload), name, upload.remote, sent=True
            ),
        )
        for name, results in outcomes.items():
            for number, outcome, uploads in zip(members[name], results, batches[name], strict=True):
                if outcome.error:
                    errors[number] = type(outcome.error)(f"destination '{name}': {outcome.error}")
                for upload in {*uploads} - {*outcome.uploads_done, outcome.unsure}:
                    self._ledger.renaming(entry(name, upload), name, upload.remote, sent=False)
            if all(isinstance(outcome.error, UnreachableError) for outcome in results):
                self._down[name] = errors[members[name][-1]]
        whole = [p for number, p in enumerate(products) if number not in errors]
        self._ledger.finish(product.job.entry for product in whole)
        return [
            replace(
                product,
                error=errors.get(number),
                deliveries=self._ledger.deliveries(product.job.entry),
            )
            for number, product in enumerate(products)
        ]
