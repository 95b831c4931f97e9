r"""`orchestrate load` of raw files, against the database's own way to insert the same files.

DuckDB inserts with `insert … from read_parquet` (read_csv, read_json), PostgreSQL with `\copy` into
an unlogged table and one `insert … select`: with the same casts, without a check of the rows, and
without a look for rows that are already stored.
"""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import data
import duckdb
from data import Shape
from figures import MEMORY, Figure, Size
from home import BIN, Home
from postgres_server import Postgres
from timing import Cost, interleaved

_HERE = Path(__file__).parent
_FORMATS = {
    # extension of the files: the options of COPY that writes them, and the goal
    "parquet": ("format parquet", 2),
    "csv": ("format csv, header", 2),
    "jsonl": ("format json", 2.5),
}


def load(size: Size) -> Iterator[Figure]:
    """Measure a load into an empty warehouse, of each format, against DuckDB's insert."""
    for name, (_, goal) in _FORMATS.items():
        home = _home(size.folder / name, size.rows, name)

        def ours(home: Home = home) -> dict[str, Cost]:
            _forget(home)
            return {"load": _load(home)}

        def base(home: Home = home, name: str = name) -> dict[str, Cost]:
            _forget(home)
            return {"insert": home.run(sys.executable, _HERE / "inserting.py", name)}

        costs = interleaved(base, ours, rounds=size.rounds, warm=False)
        title = f"load, {name} / DuckDB's insert"
        yield Figure(title, costs["load"], costs["insert"], at_most=goal)
        if name == "parquet":
            yield Figure("load of the same files again / load", _load(home), costs["load"])
        shutil.rmtree(home.folder)


def memory(size: Size) -> Iterator[Figure]:
    """Measure the peak memory of a load, and of one of five times the rows."""
    for rows in (size.rows, 5 * size.rows):
        home = _home(size.folder / str(rows), rows, "parquet")
        title = f"peak memory of a load of {rows:,} rows, MB"
        yield Figure(title, _load(home), None, at_most=MEMORY, of="memory")
        shutil.rmtree(home.folder)


def postgres(size: Size) -> Iterator[Figure]:
    r"""Measure a load of a tenth of the rows into an empty PostgreSQL, against `\copy`."""
    server = Postgres()
    server.start()
    try:
        pid = int((server.folder / "data/postmaster.pid").read_text().split()[0])
        variables = {**server.warehouse(), "ORCHESTRATE_TARGET": "postgres", "PGTZ": "UTC"}
        home = _home(size.folder / "home", max(size.rows // 10, 1000), "csv")
        home = replace(home, env=variables, server=pid)
        script = home.folder / "copy.sql"
        script.write_text("\n".join(_copy_statements(home.folder)), encoding="utf-8")
        psql = (server.program("psql"), "--quiet", "--set=ON_ERROR_STOP=1")
        drop = (*psql, "--command", "drop schema if exists raw cascade")

        def ours() -> dict[str, Cost]:
            home.run(*drop)
            return {"load": _load(home)}

        def base() -> dict[str, Cost]:
            home.run(*drop)
            return {"copy": home.run(*psql, "--file", script)}

        costs = interleaved(base, ours, rounds=size.rounds)
    finally:
        server.stop()
    title = "PostgreSQL: load / \\copy and insert … select"
    yield Figure(title, costs["load"], costs["copy"], at_most=1.5)


def _home(folder: Path, rows: int, name: str) -> Home:
    """Make a folder with raw files of every table of events."""
    home = Home.make(folder, Shape(rows))
    files = folder / "files"
    files.mkdir()
    with duckdb.connect(folder / "warehouse.duckdb", read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'; set memory_limit = '4GB'")
        for table, columns in data.events(folder).items():
            query = f"select {', '.join(columns)} from raw.{table}"
            path = files / f"{table}.{name}"
            connection.execute(f"copy ({query}) to '{path}' ({_FORMATS[name][0]})")
    _forget(home)
    return home


def _load(home: Home) -> Cost:
    return home.run(BIN / "orchestrate", "load", "files")


def _forget(home: Home) -> None:
    (home.folder / "warehouse.duckdb").unlink(missing_ok=True)


def _copy_statements(folder: Path) -> Iterator[str]:
    yield "create schema raw;"
    for table, columns in data.events(folder).items():
        texts = ", ".join(f"{name} text" for name in columns)
        types = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        values = ", ".join(f"cast({name} as {kind})" for name, kind in columns.items())
        yield f"create unlogged table arriving ({texts});"
        yield f"\\copy arriving from 'files/{table}.csv' (format csv, header)"
        yield f"create table raw.{table} ({types}, loaded_at timestamptz);"
        yield f"insert into raw.{table} select {values}, now() from arriving;"
        yield "drop table arriving;"
