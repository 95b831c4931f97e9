"""Caches of dbt's work that the runs of all tests share.

The parse of the project: a run keeps it in its outbox for the next run. dbt uses it only for the
same connection, and to dbt another path of a DuckDB file is another connection, although the parse
does not depend on the path. Each test has a separate outbox and warehouse, so the tests share one.

The compilation of templates: dbt has a switch for its own tests that keeps parsed macros. Even with
it, dbt compiles each template and injects each ephemeral model again, in every run and window.
"""

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dbt.compilation
import pytest
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.artifacts.resources.v1.components import InjectedCTE
from dbt_common.behavior_flags import BehaviorFlagRendered
from dbt_common.clients.jinja import MacroFuzzEnvironment
from dbt_common.tests import enable_test_caching
from workspace import ROOT

from orchestrator.warehouse.dbt import Dbt
from orchestrator.warehouse.project import Project

_PARSE = "partial_parse.msgpack"
_PATHS = {"path", "attach", "settings"}


@contextmanager
def shared_parse(folder: Path) -> Iterator[None]:
    """Let each run on DuckDB start with the parse of the last run, which `folder` keeps."""
    keys: Callable[..., tuple[str, ...]] = DuckDBCredentials._connection_keys  # noqa: SLF001 - dbt offers no other way
    parse, kept = Dbt.__init__, folder / _PARSE

    def connection_keys(self: DuckDBCredentials) -> tuple[str, ...]:
        return tuple(key for key in keys(self) if key not in _PATHS)

    def begin(self: Dbt, project: Project, work: Path, cache: Path, **more: Any) -> None:  # noqa: ANN401 - as in Dbt
        shared = project.folder == ROOT / "dbt_project" and more["output"]["type"] == "duckdb"
        own = cache / _PARSE
        if shared and kept.exists() and not own.exists():
            try:
                shutil.copyfile(kept, own)
            except OSError:  # disk full: the run should report it
                own.unlink(missing_ok=True)
        parse(self, project, work, cache, **more)
        if shared and own.exists():  # keep the newest: dbt may have rejected the older one
            temporary = kept.with_suffix(f".{os.getpid()}")
            shutil.copyfile(own, temporary)
            temporary.replace(kept)  # another process may be reading it

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DuckDBCredentials, "_connection_keys", connection_keys)
        patch.setattr(Dbt, "__init__", begin)
        yield


def cache_compilation() -> None:
    """Let dbt keep what it compiles for the lifetime of this process."""
    enable_test_caching()
    compiled: dict[tuple[type, str], Any] = {}
    compile_again, inject_again = MacroFuzzEnvironment.compile, dbt.compilation.inject_ctes_into_sql

    def compile_once(self: MacroFuzzEnvironment, source: Any, *more: Any) -> Any:  # noqa: ANN401 - as in Jinja
        if more or not isinstance(source, str):
            return compile_again(self, source, *more)
        key = type(self), source
        if key not in compiled:
            compiled[key] = compile_again(self, source)
        return compiled[key]

    @functools.cache
    def inject_once(sql: str, ctes: tuple[str, ...]) -> str:
        return inject_again(sql, [InjectedCTE("", cte) for cte in ctes])

    def inject(sql: str, ctes: list[InjectedCTE]) -> str:
        return inject_once(sql, tuple(cte.sql for cte in ctes))

    patch = pytest.MonkeyPatch()
    patch.setattr(MacroFuzzEnvironment, "compile", compile_once)
    patch.setattr(dbt.compilation, "inject_ctes_into_sql", inject)
    # For an event without listeners dbt searches all modules, to name the adapter.
    patch.setattr(BehaviorFlagRendered, "_default_source", staticmethod(lambda: "dbt"))
