"""Questions that an edit of exports.yml raises, and that only its author can answer."""

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.config import Config
from orchestrator.config.exports import EVERY_BRAND
from orchestrator.errors import escaped
from orchestrator.jobs import Exports, Job, Request, brand_of
from orchestrator.jobs.continuity import Continuity
from orchestrator.jobs.due import is_wanted
from orchestrator.ledger import Entry, Ledger
from orchestrator.windows import Window


def unowned(config: Config, ledger: Ledger) -> dict[str, list[Entry]]:
    """Return, by export, the unfinished windows that no entry of exports.yml delivers any more.

    Windows of a removed export that another entry continues are omitted: a run delivers those.
    """
    exports = Exports(config, Request())
    wanted = filter(is_wanted, ledger.open_entries())
    waiting = [entry for entry in wanted if not exports.owner(entry.export)]
    found: dict[str, list[Entry]] = {}
    if waiting:  # Continuity reads the spans of all exports, which is slow and rarely needed
        continuity = Continuity(exports, ledger)
        for entry in waiting:
            if not continuity.heir(entry.export):
                found.setdefault(entry.export, []).append(entry)
    return found


def waiting(unowned: Mapping[str, Sequence[Entry]]) -> list[str]:
    """Return a message for each export of `unowned()`: what to do about its windows."""
    return [
        f"{escaped(name)}: {len(entries)} windows wait, the oldest is "
        f"{min(entry.window for entry in entries)}, and no entry of exports.yml delivers them: "
        "add the entry again until they are delivered, or give them up with "
        "'orchestrate prune --abandon'"
        for name, entries in unowned.items()
    ]


def replaced(config: Config, ledger: Ledger) -> Iterator[str]:
    """Yield a message for each brand that `*` exported before and that now has another interval.

    For example, a brand that gets an hourly entry gets no more daily files from `*`. The author of
    exports.yml may want both. A daily entry for the brand answers yes, a `start` answers no.
    """
    exports = Exports(config, Request())
    of_star = {each.export.interval for each in exports if each.export.brand == EVERY_BRAND}
    brands = exports.listed - {EVERY_BRAND}
    spans = ledger.spans(f"{brand} {interval}" for brand in brands for interval in of_star)
    for brand in brands:
        entries = exports.of_brand(brand)
        if any(each.export.start for each in entries):
            continue
        for interval in of_star - {each.export.interval for each in entries}:
            name = f"{brand} {interval}"
            if span := spans.get(name):
                end = span.end.astimezone(entries[0].export.timezone)
                yield (
                    f"{escaped(name)}: delivered until {end:%Y-%m-%d %H:%M}. {escaped(brand)} has "
                    f"a separate entry now, so the {interval} '*' does not include it. If it "
                    f"needs {interval} files too, add an entry for them; if not, add 'start: "
                    f"{end:%Y-%m-%d}' to its entry"
                )


def repeated(config: Config, ledger: Ledger, jobs: Sequence[Job]) -> Iterator[str]:
    """Yield a message for each requested window that was delivered before by a removed export.

    Exports that exports.yml still has are not compared: the daily and the weekly files of one
    brand contain the same rows on purpose.
    """
    exports = Exports(config, Request())
    removed: dict[str, list[tuple[str, Window]]] = {}
    for name, span in ledger.spans(ledger.exports()).items():
        if not exports.owner(name):
            removed.setdefault(brand_of(name), []).append((name, span))
    for job in jobs:
        window = job.entry.window
        for name, span in removed.get(job.brand, ()):
            if span.start < window.end and window.start < span.end:
                yield (
                    f"{escaped(job.entry.export)} {window}: rows of this time were delivered as "
                    f"{escaped(name)} before, so the receiver gets them a second time"
                )
