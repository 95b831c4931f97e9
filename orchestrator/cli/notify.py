"""Notifications: what went wrong in a run, told to the Apprise URLs of `notify`, once.

A URL may hold a token: it is named by its place in the list.
"""

import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING

from pydantic import SecretStr

from orchestrator.cli import phrases
from orchestrator.config import values
from orchestrator.errors import ExportError, InterruptedRunError, LockedError
from orchestrator.pipeline.result import RunResult, Status

if TYPE_CHECKING:
    from apprise import NotifyBase

_log = logging.getLogger(__name__)

PATIENCE = 15.0
"""Seconds that all of them together may take."""
_LINES = 20
_LENGTH = 500
"""Characters of a line: some services take no more than a few thousand in all."""


def tell(urls: Sequence[SecretStr], result: RunResult) -> None:
    """Tell what failed in a run, and of late rows.

    Nothing is sent where there is neither, and nothing is raised.
    """
    failed = [
        window for window in result.windows if window.status in (Status.FAILED, Status.STOPPED)
    ]
    what = [f"{len(failed)} of {len(result.windows)} windows failed"] if failed else []
    if result.late:
        what.append(f"{len(result.late)} windows have late rows")
    lines = [*map(phrases.line, failed), *map(phrases.late_line, result.late)]
    if lines:
        _send(urls, ", ".join(what), lines, kind="failure" if failed else "warning")


@contextmanager
def on_failure(urls: Sequence[SecretStr]) -> Iterator[None]:
    """Tell of an error that ends a run, which is raised all the same."""
    try:
        yield
    except (InterruptedRunError, LockedError):
        raise  # somebody stopped it, or another run is at work: nothing is wrong
    except ExportError as error:
        _send(urls, "the run failed", str(error).splitlines())
        raise
    except Exception as error:
        _send(urls, "the run failed", [f"{type(error).__name__}; its log says more"])
        raise


def _send(
    urls: Sequence[SecretStr], what: str, lines: Sequence[str], *, kind: str = "failure"
) -> None:
    told = [line if len(line) <= _LENGTH else f"{line[:_LENGTH]}…" for line in lines[:_LINES]]
    if len(lines) > _LINES:
        told.append(f"and {len(lines) - _LINES} more")
    title = f"Event exports on {socket.gethostname()}: {what}"
    taken: set[int] = set()

    def send(number: int, service: "NotifyBase") -> None:
        with suppress(Exception):  # whatever a service raises, it has not taken the message
            if service.notify(body="\n".join(told), title=title, notify_type=kind):
                taken.add(number)

    # Apprise's own time limit leaves threads behind that a process waits for before it can end.
    found = [service for service in map(values.notify_service, urls) if service]
    threads = [Thread(target=send, args=item, daemon=True) for item in enumerate(found)]
    for thread in threads:
        thread.start()
    deadline = monotonic() + PATIENCE
    for number, thread in enumerate(threads):
        thread.join(max(0.0, deadline - monotonic()))
        if number not in taken:
            why = f"no answer within {PATIENCE:g} s" if thread.is_alive() else "it was not taken"
            _log.warning("notify[%d]: could not be told: %s", number, why)
