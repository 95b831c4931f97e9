"""One tree of errors, each with the exit code of the command that meets it.

A message is for the person who must act: what is wrong, where, and what to do. It holds no
secret and no e-mail address.
"""

import difflib
import signal
from collections.abc import Collection


def on_one_line(text: str) -> str:
    """Return a text with what would break or reorder a line, such as a name may hold, escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def did_you_mean(name: str, valid: Collection[str]) -> str:
    """Return the end of a message that offers the nearest valid name, empty where none is near."""
    by_name = {each.casefold(): each for each in valid}
    near = difflib.get_close_matches(name.casefold(), by_name, n=1)
    return f"; did you mean {by_name[near[0]]}?" if near else ""


class ExportError(Exception):
    """Anything that stops a command or an export. Exit code 1."""

    exit_code = 1


class UsageError(ExportError):
    """Bad usage or configuration. Exit code 2."""

    exit_code = 2


class ConfigError(UsageError):
    """A mistake in exports.yml, named by file, line and key. Exit code 2."""


class UnsetError(ConfigError):
    """An environment variable that exports.yml names is not set. Exit code 2."""


class GateError(ExportError):
    """dbt or a data test of severity error failed: nothing of the window ships. Exit code 4."""

    exit_code = 4


class LockedError(ExportError):
    """Another run holds the lock. Exit code 75 (EX_TEMPFAIL of sysexits.h)."""

    exit_code = 75


class InterruptedRunError(ExportError):
    """A signal ended a command: exit code 130 (SIGINT, Ctrl-C) or 143 (SIGTERM), as of a shell."""

    def __init__(self, advice: str, number: int) -> None:
        """Take what to do now, and the signal's number."""
        by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        super().__init__(f"interrupted{by}; {advice}")
        self.exit_code = 128 + number


class LedgerError(ExportError):
    """The ledger cannot be read or written: a run must stop, for it would not know what it did."""


class DeliveryError(ExportError):
    """A destination refused a file, or could not be reached."""
