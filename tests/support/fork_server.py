"""Imported once by the process that forked_commands.py forks: all slow imports and a dbt build.

No thread may be running, because a fork does not copy threads. So pyarrow is not imported here, and
dbt parses without its static extractor, as dbt itself does if the extractor fails.
"""

import importlib
import multiprocessing
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dbt.mp_context
import pytest
from dbt_parse_cache import cache_compilation, shared_parse
from workspace import Workspace

from orchestrator.warehouse import Warehouse, project
from orchestrator.windows import Window

_SLOW = ("asyncssh", "duckdb", "orchestrator.cli", "orchestrator.pipeline.run", "typer")
_DAY = datetime(2026, 11, 19, tzinfo=UTC)

for _name in _SLOW:
    importlib.import_module(_name)
cache_compilation()
# A process that is killed leaves named locks behind.
dbt.mp_context._MP_CONTEXT = multiprocessing.get_context("fork")  # type: ignore[assignment] # noqa: SLF001 - dbt offers no other way
with pytest.MonkeyPatch.context() as _patch, tempfile.TemporaryDirectory() as _folder:
    _workspace = Workspace(Path(_folder), _patch)
    _patch.setenv("DBT_STATIC_PARSER", "false")
    with shared_parse(Path(os.environ["PARSED"])):
        _warehouse = Warehouse.open(
            project.find(_workspace.folder, "duckdb"), _workspace.folder, _workspace.folder
        )
    _warehouse.stage(Window(_DAY, _DAY + timedelta(days=1)))
    _warehouse.close()
assert len([*Path("/proc/self/task").iterdir()]) == 1, "a thread does not exist after a fork"
