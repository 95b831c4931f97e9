"""One tree of errors, each with the exit code of the command that meets it.

A message is for the person who must act: what is wrong, where, and what to do. It holds no
secret and no e-mail address.
"""

import difflib
import re
from collections.abc import Collection


def without_addresses(text: str) -> str:
    """Return another program's words without the e-mail addresses that they may quote."""
    return re.sub(r"[^\s'\"]+@[^\s'\"]+", "…@…", text)


def did_you_mean(name: str, valid: Collection[str]) -> str:
    """Return the end of a message that offers the nearest valid name, empty where none is near."""
    near = difflib.get_close_matches(name, valid, n=1)
    return f"; did you mean {near[0]}?" if near else ""


class ExportError(Exception):
    """Anything that stops a command or an export. Exit code 1."""

    exit_code = 1


class UsageError(ExportError):
    """Bad usage or configuration. Exit code 2."""

    exit_code = 2


class ConfigError(UsageError):
    """A mistake in exports.yml, named by file, line and key. Exit code 2."""


class GateError(ExportError):
    """dbt or a data test of severity error failed: nothing of the window ships. Exit code 4."""

    exit_code = 4


class LockedError(ExportError):
    """Another run holds the lock. Exit code 75 (EX_TEMPFAIL of sysexits.h)."""

    exit_code = 75


class DeliveryError(ExportError):
    """A destination refused a file, or could not be reached."""
