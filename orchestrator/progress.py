"""Progress: the steps that a command reports while it works, and numbers formatted for people."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

ROWS = ("row", "rows")
FILES = ("file", "files")
EXPORTS = ("export", "exports")
WINDOWS = ("window", "windows")


class Progress(Protocol):
    """Callback that receives each step of a command when the step begins.

    `detail` returns a text about how much of the step is done. On a terminal it is called several
    times per second, in another thread, until the next step begins. A log does not call it.
    """

    def __call__(self, step: str, detail: Callable[[], str] | None = None, /) -> None:
        """Receive the description of a step, such as `building the views`."""


def no_progress(step: str, detail: Callable[[], str] | None = None, /) -> None:
    """Ignore the step: the `Progress` of callers that show no progress."""
    del step, detail


@dataclass
class Tally:
    """Numbers of files, rows and bytes; one thread may count while another one shows them."""

    files: int = 0
    rows: int = 0
    bytes: int = 0

    def __str__(self) -> str:
        """Return the numbers as text, such as `2 files, 1,200 rows, 34.5 kB`."""
        counts = [(self.files, FILES), (self.rows, ROWS)]
        parts = [count(number, noun) for number, noun in counts if number]
        return ", ".join([*parts, size(self.bytes)] if self.bytes else parts) or "nothing"


def count(number: int | None, noun: tuple[str, str]) -> str:
    """Return a number with its noun (singular, plural): `1 row`, `2,000 rows`."""
    return f"{number:,} {noun[number != 1]}"


def size(number: float) -> str:
    """Return a number of bytes with an SI prefix."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:  # noqa: PLR2004 - SI
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"
