"""Retention: remove files that were delivered long ago, at destinations and in the outbox."""

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
    from orchestrator.delivery.removal import RemovalRequest

_log = logging.getLogger(__name__)

_DAY = timedelta(days=1)
_SILENCE = timedelta(days=35)
"""The longest plausible time without a new record: a month between windows, and a late run."""
_BATCH = 10_000
"""Files of each destination that are removed before the ledger records it."""
_LISTED = 100_000
"""Files that a result lists at most; there may be millions."""
_TO_RETRY = ("recent", "failed")
"""Outcomes after which the next run tries to remove the file again."""
_SHOWN = 3
"""Errors of one destination that are shown at most; they are mostly the same."""


@dataclass(frozen=True)
class Removal:
    """A delivered file that is old, and the outcome of its removal.

    `destination` is None for the outbox. The outcome is due (in a dry run), removed, gone (the
    receiver had moved it), changed (it has other content now, and is kept), recent (it is not old
    by the destination's own clock, and is kept for now) or failed.
    """

    destination: str | None
    path: str
    delivered_at: datetime
    outcome: str


@dataclass(frozen=True)
class PruneResult:
    """The result of retention: the outcome of each file, and warnings of what failed.

    `removals` lists at most 100,000 files; `counts` counts all, by place (a destination's name, or
    outbox) and outcome. `abandoned` are the windows, by export, that waited and were given up.
    """

    now: datetime
    removals: Sequence[Removal] = ()
    warnings: Sequence[str] = ()
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    abandoned: Mapping[str, Sequence[Window]] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0: success. 1: something could not be removed."""
        return 1 if self.warnings else 0


def foresee(config: Config, *, now: datetime, abandon: bool = False) -> PruneResult:
    """Return the files that would be removed; nothing is removed (`--dry-run`)."""
    with closing(Ledger(config.state, read_only=True)) as ledger:
        gone = unsettled.unowned(config, ledger) if abandon else {}
        found = Retention(config, outbox=Outbox(config.outbox), ledger=ledger, now=now).foresee()
    return replace(found, abandoned=_windows(gone))


def prune(config: Config, *, now: datetime, abandon: bool = False) -> PruneResult:
    """Remove old files, outside of a run. Raises LockedError while a run is at work.

    With `abandon`, windows that wait and that no entry of exports.yml delivers are given up first.
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

    The age of a file counts from its delivery, in the outbox from its delivery to the last
    destination. Never removed are files that the ledger does not have, files that have other
    content now, paths that a later delivery wrote again or will write, and the files of the newest
    window of each export.
    """

    def __init__(self, config: Config, *, outbox: Outbox, ledger: Ledger, now: datetime) -> None:
        """Take the config (`retention`, `keep_local`), the outbox, the ledger and the time."""
        self._config = config
        self._outbox = outbox
        self._files = ledger.removals
        self._now = now

    def foresee(self) -> PruneResult:
        """Return the files that would be removed; nothing is removed."""
        found = _RemovalCounts()
        for name, batches in self._old(destinations=True).items():
            for old in itertools.chain.from_iterable(batches):
                if name or self._outbox.path(old.file.path).exists():
                    found.add(name, old, "due")
        doubts = self.doubts() if found.removals else []
        return self._result(_RemovalCounts() if doubts else found, doubts)

    def prune(self, *, destinations: bool = True) -> PruneResult:
        """Remove old files in the outbox and, over one connection each, at the destinations.

        There may be millions of files, so they are removed and recorded in batches: memory is
        bounded, and after a kill the next run repeats at most one batch. If a removal fails, the
        next run continues at that place. The warnings report failures. Raises LedgerError.
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
        """Return why the clock cannot be trusted; empty if it can.

        If the clock is far ahead, every file seems old. It then seems that the ledger recorded
        nothing for a long time, as after a long time in which the machine was off. In both cases
        nothing is removed until the ledger has records that are a day old.
        """
        silence = self._files.silence(self._now - _DAY)
        if silence <= _SILENCE:
            return []
        doubt = (
            f"nothing old was removed: the clock of this machine shows {self._now:%Y-%m-%d %H:%M} "
            f"UTC, and until a day before that the ledger had no new record for {silence.days} "
            "days. If no run took place for that long, wait a day; if the clock is wrong, correct "
            "it before that day is over"
        )
        return [doubt]

    def _old(self, *, destinations: bool) -> dict[str | None, Iterator[Sequence[OldFile]]]:
        """Return batches of old files, by destination, and for None those of the outbox."""
        files, now, retention = self._files, self._now, self._config.retention
        names = {**{name: name for name in retention}, **self._renamed} if destinations else {}
        old: dict[str | None, Iterator[Sequence[OldFile]]] = {
            name: files.old(name, now - retention[listed], most=_BATCH, renamed=listed)
            for name, listed in names.items()
        }
        return {None: files.old(None, now - self._config.keep_local, most=_BATCH), **old}

    @cached_property
    def _renamed(self) -> dict[str, str]:
        """The new names of destinations that were renamed in exports.yml, by the old name.

        A destination was renamed if exports.yml no longer has its name but has another destination
        at the same host and folder. The files are still there, so their retention continues.
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
        """Remove files from the outbox, and return the outcome of each, below the key None."""
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
        """Remove files from their destinations, and return the outcome of each."""
        requests: dict[str, RemovalRequest] = {}
        for name, found in due.items():
            if name and (batches := [*self._batches(found)]):
                listed = self._renamed.get(name, name)
                age = self._config.retention[listed]
                requests[name] = (self._config.destinations[listed], age, batches)
        if not requests:
            return {}
        from orchestrator.delivery.removal import remove_all  # noqa: PLC0415 - few runs need it

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
    """The outcomes of files: all are counted, and the first ones are listed."""

    def __init__(self) -> None:
        self.removals: list[Removal] = []
        self.counts: dict[str, Counter[str]] = {}
        self._logged: Counter[str] = Counter()

    def add(self, destination: str | None, old: OldFile, outcome: str) -> None:
        place, path = destination or "outbox", old.file.path
        _log.debug("%s: %s %s", place, outcome, path)
        # An earlier release, or somebody by hand, removed the file: there is nothing to report.
        if destination is None and outcome == "gone":
            return
        self.counts.setdefault(place, Counter())[outcome] += 1
        if len(self.removals) < _LISTED:
            self.removals.append(Removal(destination, path, old.delivered_at, outcome))

    def log(self) -> None:
        """Log how many files were removed so far, for each place where the number grew."""
        for place, counts in self.counts.items():
            if counts["removed"] > self._logged[place]:
                self._logged[place] = counts["removed"]
                _log.info("%s: old files removed: %d", place, counts["removed"])
