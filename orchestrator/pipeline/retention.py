"""Retention: files that were delivered long ago are removed, at destinations and in the outbox."""

import itertools
import logging
import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.config import Config
from orchestrator.files.outbox import Outbox
from orchestrator.jobs import unsettled
from orchestrator.ledger import Entry, Ledger, OldFile
from orchestrator.windows import Window

if TYPE_CHECKING:
    from orchestrator.delivery import Upload
    from orchestrator.delivery.visits import RemovalRequest

_log = logging.getLogger(__name__)

_DAY = timedelta(days=1)
_SILENCE = timedelta(days=35)
"""The longest time without a window that is not suspicious: a month, and a run that is late."""
_PIECE = 10_000
"""Files of each destination that are removed before the ledger notes it."""
_LISTED = 100_000
"""Files that a result lists; there may be millions."""
_TO_RETRY = ("recent", "failed")
"""Outcomes after which a file is still due."""
_SHOWN = 3
"""Errors of one destination that are shown; mostly they are alike."""


@dataclass(frozen=True)
class Removal:
    """A delivered file that is old: where, which, since when, and what became of it.

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
    """What retention did, file by file, and what it could not do.

    `removals` lists at most 100,000 files; `counts` counts all, by place (a destination's name, or
    outbox) and outcome. `abandoned` are windows that waited and were given up, by export.
    """

    now: datetime
    removals: Sequence[Removal] = ()
    warnings: Sequence[str] = ()
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    abandoned: Mapping[str, Sequence[Window]] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 all well; 1 something could not be done."""
        return 1 if self.warnings else 0


def foresee(config: Config, *, now: datetime, abandon: bool = False) -> PruneResult:
    """Return what would be removed, and remove nothing (`--dry-run`)."""
    with closing(Ledger(config.state, read_only=True)) as ledger:
        gone = unsettled.unowned(config, ledger) if abandon else {}
        found = Retention(config, outbox=Outbox(config.outbox), ledger=ledger, now=now).foresee()
    return replace(found, abandoned=_windows(gone))


def prune(config: Config, *, now: datetime, abandon: bool = False) -> PruneResult:
    """Remove what is due, outside of a run. Raises LockedError while a run is at work.

    With `abandon` windows are given up that wait and that no entry of exports.yml delivers.
    """
    outbox = Outbox(config.outbox)
    with outbox.open(), closing(Ledger(config.state)) as ledger:
        gone = unsettled.unowned(config, ledger) if abandon else {}
        outbox.remove(ledger.abandon(entry for entries in gone.values() for entry in entries))
        found = Retention(config, outbox=outbox, ledger=ledger, now=now).prune()
    return replace(found, abandoned=_windows(gone))


def _windows(entries: Mapping[str, Sequence[Entry]]) -> dict[str, list[Window]]:
    return {name: sorted(entry.window for entry in found) for name, found in entries.items()}


class Retention:
    """Finds and removes files that are older than exports.yml allows.

    Age counts from the delivery, in the outbox from the delivery to the last destination. These
    are never removed: files that the ledger did not deliver, files that have other content now,
    paths that a later delivery wrote again or will write, and the newest window of each export.
    """

    def __init__(self, config: Config, *, outbox: Outbox, ledger: Ledger, now: datetime) -> None:
        """Take the ages (`retention`, `keep_local`), the files, and the current time."""
        self._config = config
        self._outbox = outbox
        self._files = ledger.removals
        self._now = now

    def foresee(self) -> PruneResult:
        """Return what would be removed, and remove nothing."""
        found = _RemovalCounts()
        for name, pieces in self._old(destinations=True).items():
            for old in itertools.chain.from_iterable(pieces):
                if name or self._outbox.path(old.file.path).exists():
                    found.add(name, old, "due")
        doubts = self.doubts() if found.removals else []
        return self._result(_RemovalCounts() if doubts else found, doubts)

    def prune(self, *, destinations: bool = True) -> PruneResult:
        """Remove what is due in the outbox and, over one connection each, at the destinations.

        There may be millions of files, so they are removed and noted in pieces: memory is bounded,
        and a run that is killed has little to do again. A place where something failed is left
        alone until the next run. The warnings say what could not be done. Raises LedgerError.
        """
        found = _RemovalCounts()
        warnings: list[str] = []
        waiting = self._old(destinations=destinations)
        while due := {name: files for name, old in waiting.items() if (files := next(old, ()))}:
            if not found.removals and (warnings := self.doubts()):
                break
            outcomes = self._remove(due, warnings) | self._tidy(due.get(None, ()), warnings)
            for name, by_path in outcomes.items():
                done = [path for path, outcome in by_path.items() if outcome not in _TO_RETRY]
                self._files.note(name, done)
                for file in due[name]:
                    found.add(name, file, by_path[file.file.path])
                if "failed" in by_path.values():
                    del waiting[name]
            waiting = {name: old for name, old in waiting.items() if name in due}
            found.log()
        return self._result(found, warnings)

    def doubts(self) -> list[str]:
        """Return why the clock cannot be trusted, empty where it can.

        A clock that is far ahead and a machine that was off for long look alike: for a long time
        the ledger noted nothing. After a day of runs ages count again.
        """
        silence = self._files.silence(self._now - _DAY)
        if silence <= _SILENCE:
            return []
        doubt = (
            f"nothing old was removed: it is {self._now:%Y-%m-%d %H:%M} UTC by the clock of this "
            f"machine, and a day before the ledger had known of nothing for {silence.days} days. "
            "If nothing ran for that long, wait a day; if the clock is wrong, correct it by then"
        )
        return [doubt]

    def _old(self, *, destinations: bool) -> dict[str | None, Iterator[Sequence[OldFile]]]:
        """Return the old files of the outbox (None) and of destinations, in pieces."""
        files, now, retention = self._files, self._now, self._config.retention
        names = {**{name: name for name in retention}, **self._renamed} if destinations else {}
        old: dict[str | None, Iterator[Sequence[OldFile]]] = {
            name: files.old(name, now - retention[listed], most=_PIECE, renamed=listed)
            for name, listed in names.items()
        }
        return {None: files.old(None, now - self._config.keep_local, most=_PIECE), **old}

    @cached_property
    def _renamed(self) -> dict[str, str]:
        """The names in the ledger of destinations that have another name by now, and that name.

        It is another name if exports.yml has a destination at the same host and folder: the files
        of before are still there, and its retention goes on.
        """
        listed = self._config.destinations
        # A config without secrets has no destinations.
        places = {listed[name].place: name for name in self._config.retention if name in listed}
        known = self._files.destinations() if places else {}
        return {
            name: places[place]
            for name, place in known.items()
            if place in places and name not in listed
        }

    def _result(self, found: "_RemovalCounts", warnings: Sequence[str]) -> PruneResult:
        for warning in warnings:
            _log.warning("%s", warning)
        return PruneResult(self._now, found.removals, warnings, found.counts)

    def _tidy(
        self, due: Sequence[OldFile], warnings: list[str]
    ) -> dict[str | None, dict[str, str]]:
        """Remove files from the outbox, and return what became of each, under its name None."""
        if not due:
            return {}
        found = dict.fromkeys((old.file.path for old in due), "failed")
        try:
            for path in found:
                here = self._outbox.path(path)
                found[path] = "removed" if here.exists() else "gone"
                here.unlink(missing_ok=True)
        except OSError as error:
            found[path] = "failed"
            warnings.append(f"{error.filename}: cannot be removed ({error.strerror})")
        return {None: found}

    def _remove(
        self, due: Mapping[str | None, Sequence[OldFile]], warnings: list[str]
    ) -> dict[str | None, dict[str, str]]:
        """Remove files from their destinations, and return what became of each."""
        requests: dict[str, RemovalRequest] = {}
        for name, found in due.items():
            if name and (batches := [*self._batches(found)]):
                listed = self._renamed.get(name, name)
                age = self._config.retention[listed]
                requests[name] = (self._config.destinations[listed], age, batches)
        if not requests:
            return {}
        from orchestrator.delivery.visits import remove_all  # noqa: PLC0415 - mostly none is old

        outcomes: dict[str | None, dict[str, str]] = {}
        for name, result in remove_all(requests).items():
            outcomes[name] = dict.fromkeys((old.file.path for old in due[name]), "failed")
            outcomes[name] |= {path: str(found) for path, found in result.found.items()}
            errors = [f"destination '{name}': {error}" for error in result.errors]
            warnings += errors[:_SHOWN]
            if len(errors) > _SHOWN:
                warnings.append(f"destination '{name}': {len(errors) - _SHOWN} more errors")
        return outcomes

    def _batches(self, found: Iterable[OldFile]) -> Iterator[list["Upload"]]:
        """Yield the files of each window, in the reverse of their order of delivery."""
        from orchestrator.delivery import Upload  # noqa: PLC0415 - as above

        for _, files in itertools.groupby(found, operator.attrgetter("window", "export")):
            yield [Upload(self._outbox.path(old.file.path), old.file) for old in files]


class _RemovalCounts:
    """What became of the files, counted and, up to a number, listed."""

    def __init__(self) -> None:
        self.removals: list[Removal] = []
        self.counts: dict[str, Counter[str]] = {}
        self._logged: Counter[str] = Counter()

    def add(self, destination: str | None, old: OldFile, outcome: str) -> None:
        place, path = destination or "outbox", old.file.path
        _log.debug("%s: %s %s", place, outcome, path)
        # What is gone from the outbox already was removed by an earlier release, or by hand.
        if destination is None and outcome == "gone":
            return
        self.counts.setdefault(place, Counter())[outcome] += 1
        if len(self.removals) < _LISTED:
            self.removals.append(Removal(destination, path, old.delivered_at, outcome))

    def log(self) -> None:
        """Log how many files were removed so far, where there are more than before."""
        for place, counts in self.counts.items():
            if counts["removed"] > self._logged[place]:
                self._logged[place] = counts["removed"]
                _log.info("%s: old files removed: %d", place, counts["removed"])
