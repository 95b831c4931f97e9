"""One tree of errors, each with the exit code of the command that meets it.

A message is for the person who must act: what is wrong, where, and what to do. It holds no
secret and no e-mail address.
"""

import difflib
import re
import signal
import traceback
from collections.abc import Collection
from pathlib import Path

# What a database says of values: that it could not convert one, or that one breaks a rule.
_OF_VALUES = re.compile(r"\b(?:Conversion|Invalid Input|Out of Range|Constraint) Error: ")
# Where a value begins: at a quote that is no apostrophe, at a long number, or where PostgreSQL
# shows a row or a key.
_VALUE = re.compile(r"(?<![a-z])'|'(?![ts]\b)|[\"`]|=\(|(?<!\w\()\d{3}|\n\s*(?:DETAIL|CONTEXT):")
_NOUN = re.compile(
    "(?:column|relation|table|view|schema|function|type|constraint|near) $", re.IGNORECASE
)
_QUOTED_NAME = re.compile(r"(['\"`])([\w.$]+)\1")
_LINE_OF_SQL = re.compile(r"\s*LINE \d+: (?:\.\.\.)?(.+?)(?:\.\.\.)?\s*")


def on_one_line(text: str) -> str:
    """Return a text with what would break or reorder a line, such as a name may hold, escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def in_own_words(message: str, sql: str = "") -> str:
    """Return what another program says, up to the first value that it quotes.

    Any value of a row may be an address or an id, and may hold quotes and line breaks itself: so
    nothing behind it is told but lines of the `sql` that was run, where the program points at one.
    A quoted name of a column and the like is told too, where it is a word of that SQL.
    """
    words = {word for word in re.findall(r"\w+", sql) if not word[0].isdigit()}
    end = len(message)
    if kind := _OF_VALUES.search(message):
        end = kind.end()
    at = 0
    while value := _VALUE.search(message, at, end):
        name = _QUOTED_NAME.match(message, value.start(), end)
        is_named = name and _NOUN.search(message, at, value.start())
        if not name or not is_named or not words.issuperset(name[2].split(".")):
            end = value.start()
            break
        at = name.end()
    told = message[:end] + "…" * (end < len(message))
    lines = message[end:].splitlines()
    for number, line in enumerate(lines):
        shown = _LINE_OF_SQL.fullmatch(line)
        if shown and shown[1] in sql:
            pointer = lines[number + 1] if number + 1 < len(lines) else ""
            told += f"\n{line}\n{pointer if not pointer.strip(' ^') else ''}"
    return re.sub(r"[^\s'\"]+@[^\s'\"]+", "…@…", told.rstrip())


def did_you_mean(name: str, valid: Collection[str]) -> str:
    """Return the end of a message that offers the nearest valid name, empty where none is near."""
    by_name = {each.casefold(): each for each in valid}
    near = difflib.get_close_matches(name.casefold(), by_name, n=1)
    return f"; did you mean {by_name[near[0]]}?" if near else ""


def fault(error: BaseException) -> "ExportError":
    """Return an error of the program itself as one that tells its kind and place, not its words."""
    *_, place = traceback.extract_tb(error.__traceback__)
    found = ExportError(
        f"this is a fault of orchestrate: {type(error).__name__} at {Path(place.filename).name}:"
        f"{place.lineno}; report it with what -v shows"
    )
    found.__cause__ = error
    return found


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
