"""The errors that stop a command, each with its exit code.

    ExportError             1    anything that stops a command or an export
    |-- UsageError          2    bad usage or configuration
    |   `-- ConfigError     2    a mistake in exports.yml
    |       `-- UnsetError  2    exports.yml names an environment variable that is not set
    |-- GateError           4    dbt, or a data test of severity error, failed
    |-- LockedError        75    another run holds the lock
    |-- InterruptedRunError  130, 143    SIGINT, SIGTERM
    |-- LedgerError         1    the ledger cannot be read or written
    `-- DeliveryError       1    a destination refused a file or could not be reached

A message tells the operator what is wrong, where, and what to do. It contains no secret and no
e-mail address. `cli.main` turns the errors that end a command into its message and exit code.
"""

import difflib
import signal
from collections.abc import Collection


def escaped(text: str, limit: int | None = None) -> str:
    r"""Escape a text from outside, such as a brand or a server's answer, so that it stays one line.

    Each character that is not printable becomes an escape such as `\x1b`: line breaks, escape
    sequences for terminals, bidi controls, and bytes that are not text. A text of more than `limit`
    characters is cut, and then ends with an ellipsis.
    """
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return shown if limit is None or len(shown) <= limit else f"{shown[: limit - 1]}…"


def did_you_mean(name: str, valid: Collection[str], cutoff: float = 0.6) -> str:
    """Return `; did you mean X?` with the valid name that is most similar, or an empty text.

    `cutoff` (0 to 1) is the least similarity that counts (difflib.get_close_matches).
    """
    by_name = {each.casefold(): each for each in valid}
    near = difflib.get_close_matches(name.casefold(), by_name, n=1, cutoff=cutoff)
    return f"; did you mean {by_name[near[0]]}?" if near else ""


def valid_names(name: str, valid: Collection[str]) -> str:
    """Return the end of a message about an unknown name: the most similar valid one, and all.

    If the most similar name is the only one, it is not listed again.
    """
    hint = did_you_mean(name, valid)
    return hint if hint and len(valid) == 1 else f"{hint}; valid: {', '.join(valid)}"


class ExportError(Exception):
    """A command or an export cannot continue. Exit code 1."""

    exit_code = 1


class UsageError(ExportError):
    """Bad usage or configuration. Exit code 2."""

    exit_code = 2


class ConfigError(UsageError):
    """A mistake in exports.yml; the message names file, line and key. Exit code 2."""


class UnsetError(ConfigError):
    """An environment variable that exports.yml names is not set. Exit code 2."""


class GateError(ExportError):
    """dbt or a data test of severity error failed: the window is not delivered. Exit code 4."""

    exit_code = 4


class LockedError(ExportError):
    """Another run holds the lock. Exit code 75 (EX_TEMPFAIL of sysexits.h)."""

    exit_code = 75


class InterruptedRunError(ExportError):
    """A signal stopped a command. Exit code 130 (SIGINT, Ctrl-C) or 143 (SIGTERM), as in shells."""

    def __init__(self, advice: str, number: int) -> None:
        """Create it with advice for the user and the number of the signal."""
        by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        super().__init__(f"interrupted{by}; {advice}")
        self.exit_code = 128 + number


class LedgerError(ExportError):
    """The ledger cannot be read or written. The run stops, as it could not record deliveries."""


class DeliveryError(ExportError):
    """A destination refused a file, or could not be reached."""
