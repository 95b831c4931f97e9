"""What an edit of exports.yml left open, and only its author can settle."""

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
    """Return, by its name in the ledger, what waits of exports that exports.yml no longer has.

    No run delivers it. What another entry continues is left out.
    """
    exports = Exports(config, Request())
    wanted = filter(is_wanted, ledger.open_entries())
    waiting = [entry for entry in wanted if not exports.owner(entry.export)]
    found: dict[str, list[Entry]] = {}
    if waiting:  # to read all spans takes long, and nearly always nothing waits
        continuity = Continuity(exports, ledger)
        for entry in waiting:
            if not continuity.heir(entry.export):
                found.setdefault(entry.export, []).append(entry)
    return found


def waiting(unowned: Mapping[str, Sequence[Entry]]) -> list[str]:
    """Return a sentence about each export of `unowned()`: what to do about its windows."""
    return [
        f"{escaped(name)}: {len(entries)} windows wait, the oldest is "
        f"{min(entry.window for entry in entries)}, and no entry of exports.yml delivers them: "
        "add the entry again until they are delivered, or give them up with "
        "'orchestrate prune --abandon'"
        for name, entries in unowned.items()
    ]


def replaced(config: Config, ledger: Ledger) -> Iterator[str]:
    """Yield a sentence about each brand that `*` no longer includes, and whose interval changed.

    A brand with an hourly entry gets no daily files from `*`. Whether it should have both, only
    the author of exports.yml knows: a daily entry says so, and `start` says that it should not.
    """
    exports = Exports(config, Request())
    every = {each.export.interval for each in exports if each.export.brand == EVERY_BRAND}
    brands = exports.own - {EVERY_BRAND}
    spans = ledger.spans(f"{brand} {interval}" for brand in brands for interval in every)
    for brand in brands:
        own = exports.of_brand(brand)
        if any(each.export.start for each in own):
            continue
        for interval in every - {each.export.interval for each in own}:
            name = f"{brand} {interval}"
            if span := spans.get(name):
                end = span.end.astimezone(own[0].export.timezone)
                yield (
                    f"{escaped(name)}: delivered until {end:%Y-%m-%d %H:%M}. {escaped(brand)} has "
                    f"a separate entry now, so the {interval} '*' does not include it. If it "
                    f"is to have {interval} files too, add an entry for them; if not, add 'start: "
                    f"{end:%Y-%m-%d}' to the entry that it has"
                )


def repeated(config: Config, ledger: Ledger, jobs: Sequence[Job]) -> Iterator[str]:
    """Yield a sentence about each requested window that went out under another interval before.

    Only intervals that the brand no longer has count: daily and weekly files of one brand are
    meant to have the same rows.
    """
    exports = Exports(config, Request())
    replaced: dict[str, list[tuple[str, Window]]] = {}
    for name, span in ledger.spans(ledger.exports()).items():
        if not exports.owner(name):
            replaced.setdefault(brand_of(name), []).append((name, span))
    for job in jobs:
        window = job.entry.window
        for name, span in replaced.get(job.brand, ()):
            if span.start < window.end and window.start < span.end:
                yield (
                    f"{escaped(job.entry.export)} {window}: rows of this time were delivered as "
                    f"{escaped(name)} before, so the receiver gets them a second time"
                )
