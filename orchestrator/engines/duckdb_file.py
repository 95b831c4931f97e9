"""The file of a DuckDB warehouse: where it is, and why it cannot be opened."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from orchestrator import disk
from orchestrator.config import yaml_source
from orchestrator.errors import ExportError, LockedError, UsageError


def path_of(output: Mapping[str, Any]) -> Path:
    """Return the path that dbt's target names.

    Raises ConfigError where an environment variable of it is not set, UsageError where it is a
    database in memory, which no other process could see.
    """
    path = yaml_source.render(str(output.get("path", ":memory:")))
    if path.startswith(":memory:"):
        raise UsageError("the warehouse would be in memory and be gone: set DUCKDB_PATH to a file")
    return Path(path)


def unavailable(path: Path, error: duckdb.Error) -> ExportError:
    """Return the error to raise where the warehouse cannot be opened.

    LockedError where another process has it open, which frees it by itself.
    """
    holder = re.search(r"Conflicting lock is held in (.*?\(PID \d+\))", str(error))
    if holder:
        return LockedError(f"{path} is in use by {holder[1]}: wait until it is done and try again")
    wrong = UsageError(f"{path} cannot be opened as a DuckDB database: {error}")
    return disk.full(error, path) or wrong
