"""Resending: the very bytes that were delivered before, once more, as the same revision."""

import logging
from collections.abc import Iterator
from dataclasses import replace

from orchestrator.config import Config
from orchestrator.errors import ExportError, UsageError
from orchestrator.files.outbox import Outbox
from orchestrator.jobs.job import Exports, Job, Request
from orchestrator.ledger import WRITTEN, Ledger
from orchestrator.pipeline import window_files
from orchestrator.windows import Days

_log = logging.getLogger(__name__)


def jobs(config: Config, request: Request, *, ledger: Ledger, outbox: Outbox) -> list[Job]:
    """Return the windows that begin on the request's days and have files, oldest first.

    Raises UsageError where there are none, ExportError where the outbox holds the files of one no
    more, or they are in the clear and are to be encrypted by now: then nothing is to be sent.
    """
    assert request.days  # noqa: S101 - the command gives them
    found = list(_made(Exports(config, request), request.days, ledger))
    for job in found:
        for item in ledger.deliveries(job.entry):
            if not outbox.holds(item.file):
                raise ExportError(
                    f"{job.entry.export} {job.entry.window}: the outbox holds {item.file.path} "
                    "no more as it was delivered (keep_local says for how long it stays); nothing "
                    f"is sent. Make that window again, as the next revision: {job.command()}"
                )
            if window_files.is_plain(job.export, item.file):
                raise ExportError(
                    f"{job.entry.export} {job.entry.window}: {item.file.path} was delivered in the "
                    "clear, and encrypt_for is set by now; nothing is sent. Make that window "
                    f"again, encrypted, as the next revision: {job.command()}"
                )
    if not found:
        raise UsageError(f"nothing was delivered of windows that begin on {request.days}")
    return sorted(found, key=lambda job: (job.entry.window, job.entry.export))


def reopen(found: list[Job], ledger: Ledger) -> list[str]:
    """Note that these files are to be delivered again: a run that is killed is caught up.

    Returns warnings of later revisions that could not be made so far, which are given up.
    """
    since = min(job.entry.window.start for job in found)
    newest = ledger.entries(since=since)
    warnings = []
    for job in found:
        later = newest[job.entry.export, job.entry.window].revision
        if later > job.entry.revision:
            warnings.append(
                f"{job.entry.export} {job.entry.window}: revision {later}, which was asked for and "
                f"could not be made, is given up; to ask for it again: {job.command()}"
            )
            _log.warning("%s", warnings[-1])
    ledger.reopen((job.entry, job.export.destination) for job in found)
    return warnings


def _made(lines: Exports, days: Days, ledger: Ledger) -> Iterator[Job]:
    """Yield the newest revision with files of each window that begins on these days."""
    bounds = {line.name: line.export.calendar.bounds(days) for line in lines}
    since = min((begin for begin, _ in bounds.values()), default=None)
    for entry in ledger.entries(since=since, made=True).values():
        if owner := lines.owner(entry):
            line, brand = owner
            begin, end = bounds[line.name]
            if begin <= entry.window.start < end and ledger.deliveries(entry):
                yield line.job(replace(entry, state=WRITTEN), brand=brand)
