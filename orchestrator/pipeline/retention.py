"""Retention: what was delivered long ago goes away again, there and in the outbox."""

import logging
import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from orchestrator.config import Config
from orchestrator.files.outbox import Outbox
from orchestrator.ledger import Ledger
from orchestrator.ledger.ages import Ages, Sent

if TYPE_CHECKING:
    from orchestrator.delivery.removal import RemovalRequest
    from orchestrator.delivery.uploads import Upload

_log = logging.getLogger(__name__)

_DAY = timedelta(days=1)
_SILENCE = timedelta(days=35)
"""So long a ledger may know of nothing: a month, and what a late run takes."""
_TOLD = 3
"""Errors of one destination that are told; they are mostly alike."""


@dataclass(frozen=True)
class Removal:
    """A file that is to go or is gone, and since when it was there.

    `destination` is None for the outbox. The outcome is due (in a dry run), removed, gone (the
    receiver had moved it), changed (it is another file now, and stays), recent (it is not old by
    the destination's own clock, and stays for now) or failed.
    """

    destination: str | None
    path: str
    delivered_at: datetime
    outcome: str


@dataclass(frozen=True)
class PruneResult:
    """What retention did, file by file, and what it could not do."""

    now: datetime
    removals: Sequence[Removal] = ()
    warnings: Sequence[str] = ()

    @property
    def exit_code(self) -> int:
        """0 all well; 1 something could not be done."""
        return 1 if self.warnings else 0


def foresee(config: Config, *, now: datetime) -> PruneResult:
    """Return what would go, and remove nothing (`--dry-run`)."""
    with closing(Ledger(config.state, read_only=True)) as ledger:
        return Retention(config, outbox=Outbox(config.outbox), ledger=ledger, now=now).foresee()


def prune(config: Config, *, now: datetime) -> PruneResult:
    """Remove what is due, outside of a run. Raises LockedError where a run is at work."""
    outbox = Outbox(config.outbox)
    with outbox.open(), closing(Ledger(config.state)) as ledger:
        return Retention(config, outbox=outbox, ledger=ledger, now=now).prune()


class Retention:
    """Finds and removes what is older than exports.yml lets it be.

    At a destination age counts from the delivery, in the outbox from the making. Never removed:
    what the ledger did not deliver, what is not that file any more, what a later delivery wrote
    again or is to write, and the newest window of an export.
    """

    def __init__(self, config: Config, *, outbox: Outbox, ledger: Ledger, now: datetime) -> None:
        """Take what it works with."""
        self._config = config
        self._outbox = outbox
        self._ages = Ages(ledger.database)
        self._now = now

    def foresee(self) -> PruneResult:
        """Return what would go, and remove nothing."""
        removals = [_removal(None, sent, "due") for sent in self._local()]
        for name, found in self._remote().items():
            removals += [_removal(name, sent, "due") for sent in found]
        doubts = self.doubts() if removals else []
        return self._told([] if doubts else removals, doubts)

    def prune(self, *, destinations: bool = True) -> PruneResult:
        """Remove what is due in the outbox and, over one connection each, at the destinations.

        What could not be done is told in the warnings. Raises LedgerError.
        """
        local, remote = self._local(), self._remote() if destinations else {}
        warnings = self.doubts() if local or any(remote.values()) else []
        removals: list[Removal] = []
        if not warnings:
            removals += self._tidied(local, warnings)
            removals += self._swept(remote, warnings)
        return self._told(removals, warnings)

    def _local(self) -> list[Sent]:
        made_before = self._outbox.older_than(self._now - self._config.keep_local)
        return self._ages.delivered(made_before)

    def _remote(self) -> dict[str, list[Sent]]:
        return {
            name: self._ages.outdated(self._now - age, name)
            for name, age in self._config.retention.items()
        }

    def _told(self, removals: Sequence[Removal], warnings: Sequence[str]) -> PruneResult:
        for removal in removals:
            _log.debug("%s: %s %s", removal.destination or "outbox", removal.outcome, removal.path)
        gone = Counter(r.destination or "outbox" for r in removals if r.outcome == "removed")
        for name, number in gone.items():
            _log.info("%s: old files removed: %d", name, number)
        for warning in warnings:
            _log.warning("%s", warning)
        return PruneResult(self._now, removals, warnings)

    def doubts(self) -> list[str]:
        """Say why the clock is not to be trusted, if so.

        A clock that is far ahead, and a machine that was off for long, look alike: the ledger knew
        of nothing for a long time. After a day of runs ages count again.
        """
        silence = self._ages.silence(self._now - _DAY)
        if silence <= _SILENCE:
            return []
        doubt = (
            f"nothing old was removed: it is {self._now:%Y-%m-%d %H:%M} UTC by the clock here, and "
            f"a day ago the ledger had known of nothing for {silence.days} days. If nothing ran "
            "for so long, wait a day; else set the clock right before that"
        )
        return [doubt]

    def _tidied(self, found: Sequence[Sent], warnings: list[str]) -> list[Removal]:
        outcome = "removed"
        try:
            self._outbox.tidy(sent.file.path for sent in found)
        except OSError as error:
            warnings.append(f"{error.filename}: cannot be removed ({error.strerror})")
            outcome = "failed"
        return [_removal(None, sent, outcome) for sent in found]

    def _swept(self, due: dict[str, list[Sent]], warnings: list[str]) -> Iterator[Removal]:
        requests: dict[str, RemovalRequest] = {
            name: (
                self._config.destinations[name],
                self._config.retention[name],
                list(self._batches(found)),
            )
            for name, found in due.items()
            if found
        }
        if not requests:
            return
        from orchestrator.delivery.removal import (  # noqa: PLC0415 - on most runs nothing is old
            Found,
            remove_all,
        )

        for name, sweep in remove_all(requests).items():
            settled = (path for path, what in sweep.found.items() if what is not Found.RECENT)
            self._ages.removed(name, settled)
            told = [f"destination '{name}': {error}" for error in sweep.errors]
            warnings += told[:_TOLD]
            if len(told) > _TOLD:
                warnings.append(f"destination '{name}': {len(told) - _TOLD} more could not go")
            for sent in due[name]:
                yield _removal(name, sent, str(sweep.found.get(sent.file.path, "failed")))

    def _batches(self, found: Iterable[Sent]) -> Iterator[list["Upload"]]:
        """Yield the files of each window: what came last goes first."""
        from orchestrator.delivery.uploads import Upload  # noqa: PLC0415 - as above

        ordered = sorted(found, key=lambda sent: (sent.window, sent.export, -sent.position))
        for _, files in groupby(ordered, operator.attrgetter("window", "export")):
            yield [Upload(self._outbox.path(sent.file.path), sent.file) for sent in files]


def _removal(destination: str | None, sent: Sent, outcome: str) -> Removal:
    return Removal(destination, sent.file.path, sent.delivered_at, outcome)
