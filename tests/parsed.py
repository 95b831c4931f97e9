"""dbt's parse of the project, made once for all runs of a test process.

A run keeps it in its outbox, where the next one finds it, and there it is of use for one warehouse:
dbt takes another path of a DuckDB file for another connection, although nothing that it parses
hangs on the path. Each test has an outbox and a warehouse of its own.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from place import ROOT

from orchestrator.dbt import Dbt
from orchestrator.project import Project

_PARSE = "partial_parse.msgpack"
_PATHS = {"path", "attach", "settings"}


@contextmanager
def parsed_once(folder: Path) -> Iterator[None]:
    """Let each run on DuckDB begin with the last one's parse, which is kept in a folder."""
    keys: Callable[..., tuple[str, ...]] = DuckDBCredentials._connection_keys  # noqa: SLF001 - dbt offers no other way
    parse, kept = Dbt.__init__, folder / _PARSE

    def connection_keys(self: DuckDBCredentials) -> tuple[str, ...]:
        return tuple(key for key in keys(self) if key not in _PATHS)

    def begin(self: Dbt, project: Project, work: Path, cache: Path, **more: Any) -> None:  # noqa: ANN401 - of Dbt
        alike = project.folder == ROOT / "dbt_project" and more["output"]["type"] == "duckdb"
        mine = cache / _PARSE
        if alike and kept.exists() and not mine.exists():
            try:
                shutil.copyfile(kept, mine)
            except OSError:  # no room: the run is to say so
                mine.unlink(missing_ok=True)
        parse(self, project, work, cache, **more)
        if alike and mine.exists():  # the last one's: dbt may not have taken the one before
            shutil.copyfile(mine, kept)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DuckDBCredentials, "_connection_keys", connection_keys)
        patch.setattr(Dbt, "__init__", begin)
        yield
