r"""Files from PostgreSQL, against its own COPY and against other libraries.

Each reads the same two views, `activity` and `broadcast`: the files' columns, labels and order. In
the schema `bench_made` they read the rows that dbt made, in `bench_exports` dbt's views.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import data
import psycopg
import queries
from data import Shape
from figures import Figure, Size
from home import Home
from postgres_server import Postgres
from timing import Case, Cost, interleaved

_HERE = Path(__file__).parent
_PYTHON = _HERE.parent / ".venv/peers/bin/python"
_GOALS = {"pandas": 3, "polars": None, "dlt": 5}  # how many times as long


def copy(size: Size) -> Iterator[Figure]:
    r"""Measure against psql's `\copy` and polars, of the rows that dbt made."""
    with _Warehouse.of(size.folder, size.rows) as warehouse:
        cases = (warehouse.ours, warehouse.psql("made"), warehouse.peer("polars"))
        costs = interleaved(*cases, rounds=size.rounds, warm=False)
    ours = costs["ours"]
    yield Figure("PostgreSQL: files / psql \\copy", ours, costs["made"], at_most=1.2)
    yield Figure("polars / PostgreSQL: files", costs["polars"], ours, at_least=1)
    yield Figure("the same, memory", costs["polars"], ours, at_least=10, of="memory")


def libraries(size: Size) -> Iterator[Figure]:
    """Measure against other libraries, and from the raw rows, of a quarter of the rows."""
    with _Warehouse.of(size.folder, size.rows // 4) as warehouse:
        cases: list[Case] = [warehouse.peer(name) for name in _GOALS]
        cases += [warehouse.ours, warehouse.run, warehouse.psql("exports")]
        costs = interleaved(*cases, rounds=size.rounds)
    for name, goal in _GOALS.items():
        yield Figure(f"{name} / PostgreSQL: files", costs[name], costs["ours"], at_least=goal)
    title = "PostgreSQL: a run from raw rows / \\copy of the view"
    yield Figure(title, costs["run"], costs["exports"])


class _Warehouse:
    """A folder with the rows of one brand in PostgreSQL."""

    @classmethod
    @contextmanager
    def of(cls, folder: Path, rows: int) -> Iterator["_Warehouse"]:
        """Make it, and the views."""
        server = Postgres()
        server.start()
        try:
            path = data.make(folder, Shape(rows))
            variables = {**server.warehouse(), "ORCHESTRATE_TARGET": "postgres", "PGTZ": "UTC"}
            data.copy_to_postgres(path, variables)
            path.unlink()
            pid = int((server.folder / "data/postmaster.pid").read_text().split()[0])
            home = Home(folder, variables, server=pid)
            home.dbt("run")
            with psycopg.connect("", autocommit=True) as connection:
                for statement in _views():
                    connection.execute(statement.encode())
            yield cls(home, server.program("psql"), rows)
        finally:
            server.stop()

    def __init__(self, home: Home, psql: Path, rows: int) -> None:
        """Take what `of` made."""
        self._home = home
        self._psql = psql
        self._rows = rows

    def ours(self) -> dict[str, Cost]:
        """Make the files of the rows that dbt made, without dbt's import."""
        folder, steps = self._home.folder, self._home.steps
        whole = self._home.run(sys.executable, _HERE / "reading.py", folder, steps)
        return {"ours": whole - self._home.noted()}

    def run(self) -> dict[str, Cost]:
        """Make the files by a whole run without its data tests."""
        whole, _ = self._home.inside("--no-deliver", tested=False)
        self._home.check(self._rows)
        return {"run": whole}

    def psql(self, schema: str) -> Case:
        """Return what copies both files, from the rows that dbt made or from its views."""
        commands: list[str] = []
        for kind in ("broadcast", "activity"):
            query = f"(select * from bench_{schema}.{kind}) to 'psql-{kind}.csv'"
            commands += ["--command", f"\\copy {query} (format csv, header)"]
        return lambda: {schema: self._home.run(self._psql, "--quiet", *commands)}

    def peer(self, name: str) -> Case:
        """Return what makes the files by another library."""
        folder = self._home.folder / name

        def case() -> dict[str, Cost]:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            return {name: self._home.run(_PYTHON, _HERE / "peers.py", name, folder)}

        return case


def _views() -> Iterator[str]:
    """Yield what keeps the rows of the views, and makes the files' queries views, of either."""
    yield "create schema made"
    for name in ("activities_daily", "broadcasts_daily", "brands"):
        yield f"create table made.{name} as select * from exports.{name}"
    yield "vacuum analyze"
    for schema in ("made", "exports"):
        yield f"create schema bench_{schema}"
        moment, collation = "to_char({}, 'YYYY-MM-DD HH24:MI:SS')", ' collate "C"'
        for kind, query in queries.of_files(moment, collation, schema).items():
            yield f"create view bench_{schema}.{kind} as {query}"
