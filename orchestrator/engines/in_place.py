"""Rows that the stage reads where they lie, through views: none is copied."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.sql import names
from orchestrator.stage import TABLES, VIEWS, Stage
from orchestrator.stage_database import explained

if TYPE_CHECKING:
    import duckdb


def show(
    connection: "duckdb.DuckDBPyConnection",
    sources: Mapping[str, str],
    brands_source: str,
    columns: Mapping[str, set[str]],
) -> Stage:
    """Return the stage of one window's rows.

    `sources` are what DuckDB selects from, by view, and `columns` those wanted, as Engine.read has
    it. Raises ExportError.
    """
    with explained():
        for kind, table in TABLES.items():
            view = VIEWS[kind]
            rows = f"select {names(columns.get(view))} from {sources[view]}"  # noqa: S608 - quoted
            connection.execute(f"create or replace view {table} as {rows}")
        brands = connection.sql(f"from {brands_source}").order("brand").fetchall()
        return Stage.of(connection, [row[0] for row in brands])
