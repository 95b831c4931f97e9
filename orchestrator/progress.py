"""Progress: what a command reports while it works, and how numbers are written for people."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

ROWS = ("row", "rows")
FILES = ("file", "files")
EXPORTS = ("export", "exports")
WINDOWS = ("window", "windows")


class Progress(Protocol):
    """Callback that receives each step of a command as it begins.

    `detail` returns how far the step is. A terminal calls it several times a second, in another
    thread, until the next step begins. A log shows the step alone, once.
    """

    def __call__(self, step: str, detail: Callable[[], str] | None = None, /) -> None:
        """Receive a step."""


def no_progress(step: str, detail: Callable[[], str] | None = None, /) -> None:
    """Report nothing: a `Progress` for callers that show none."""
    del step, detail


@dataclass
class Tally:
    """Numbers of files, rows and bytes. One thread counts, another one may show them."""

    files: int = 0
    rows: int = 0
    bytes: int = 0

    def __str__(self) -> str:
        """Return what was counted, such as `2 files, 1,200 rows, 34.5 kB`."""
        counts = [(self.files, FILES), (self.rows, ROWS)]
        parts = [count(number, noun) for number, noun in counts if number]
        return ", ".join([*parts, size(self.bytes)] if self.bytes else parts) or "nothing"


def count(number: int | None, noun: tuple[str, str]) -> str:
    """Return a number with its noun: `1 row`, `2,000 rows`."""
    return f"{number:,} {noun[number != 1]}"


def size(number: float) -> str:
    """Return a number of bytes with an SI prefix."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:  # noqa: PLR2004 - SI
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"
