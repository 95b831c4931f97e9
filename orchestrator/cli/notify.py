"""Notifications about a run, sent to the Apprise URLs of `notify`.

A URL may contain a token, so log messages name it by its position in the list.
"""

import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING

from pydantic import SecretStr

from orchestrator.cli import report
from orchestrator.config import values
from orchestrator.errors import ExportError, InterruptedRunError, LockedError, escaped
from orchestrator.pipeline import RunResult
from orchestrator.progress import EXPORTS, WINDOWS, count

if TYPE_CHECKING:
    from apprise import NotifyBase

_log = logging.getLogger(__name__)

PATIENCE = 15.0
"""Seconds to wait for all services together."""
_LINES = 20
"""Most lines of a message."""
_LENGTH = 500
"""Most characters of a line."""
_MARGIN = 40
"""Characters that are kept free for `and 5 more`, and for what a service adds to a message."""


def send_result(urls: Sequence[SecretStr], result: RunResult) -> None:
    """Send one message about every problem that a run found; send nothing if there is none.

    Problems are windows that failed, that this run began to hold, that may lack rows, that have
    late rows, or that have no entry in exports.yml. A service that fails is logged.
    """
    failed = [window for window in result.windows if window.status in report.FAILURES]
    summary = [f"{len(failed)} of {len(result.windows)} windows failed"] if failed else []
    held = [window for window in result.windows if window.hold and window.hold.is_new]
    if held:
        summary.append(f"{count(len(held), WINDOWS)} held")
    if result.waited:
        summary.append(f"{count(len(result.waited), WINDOWS)} that may lack rows")
    if result.late:
        summary.append(f"{count(len(result.late), WINDOWS)} with late rows")
    if result.unsettled:
        summary.append(f"{count(len(result.unsettled), EXPORTS)} without an entry")
    lines = [*report.failure_lines(failed), *map(report.window_line, held), *result.waited]
    lines += [*map(report.late_line, result.late), *result.unsettled]
    if lines:
        _send(urls, ", ".join(summary), lines, kind="failure" if failed else "warning")


@contextmanager
def on_failure(urls: Sequence[SecretStr]) -> Iterator[None]:
    """Send the error that ends a run, and raise it again."""
    try:
        yield
    except (InterruptedRunError, LockedError):
        raise  # no problem: a person stopped the run, or another run is active
    except ExportError as error:
        _send(urls, "the run failed", [str(error)])
        raise
    except Exception as error:
        _send(urls, "the run failed", [f"{type(error).__name__}; see its log"])
        raise


def _send(
    urls: Sequence[SecretStr], summary: str, texts: Sequence[str], *, kind: str = "failure"
) -> None:
    title = f"Event exports on {socket.gethostname()}: {summary}"
    lines = [escaped(line, _LENGTH) for text in texts for line in text.split("\n")]
    accepted: set[int] = set()

    def send(number: int, service: "NotifyBase") -> None:
        with suppress(Exception):  # whatever the error is, the message was not accepted
            # Some services put the title into the body, so its length counts.
            body = _cut(lines, service.body_maxlen - len(title) - _MARGIN)
            if service.notify(body=body, title=title, notify_type=kind):
                accepted.add(number)

    # Daemon threads, because Apprise's own threads run on after its time limit, and Python would
    # wait for them at exit.
    found = [service for service in map(values.notify_service, urls) if service]
    threads = [Thread(target=send, args=item, daemon=True) for item in enumerate(found)]
    for thread in threads:
        thread.start()
    deadline = monotonic() + PATIENCE
    for number, thread in enumerate(threads):
        thread.join(max(0.0, deadline - monotonic()))
        if number not in accepted:
            why = f"no answer within {PATIENCE:g} s" if thread.is_alive() else "it was rejected"
            _log.warning("notify[%d]: notification failed: %s", number, why)


def _cut(lines: Sequence[str], most: int) -> str:
    """Return the first lines, `most` characters at most, and how many lines are left out."""
    kept: list[str] = []
    for line in lines[:_LINES]:
        if sum(len(each) + 1 for each in kept) + len(line) > most:
            break
        kept.append(line)
    if not kept:
        kept.append(escaped(lines[0], max(most, 1)))
    if len(lines) > len(kept):
        kept.append(f"and {len(lines) - len(kept)} more")
    return "\n".join(kept)
