"""Files from PostgreSQL, against its own COPY and against other libraries.

Each tool reads the same two views, `activity` and `broadcast`. They have the columns, labels and
order of the files. In the schema `bench_built` they read tables with the rows that dbt built, in
`bench_exports` they read dbt's views.
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
    r"""Measure against psql's `\copy` and polars, from the rows that dbt built."""
    with _Warehouse.of(size.folder, size.rows) as warehouse:
        cases = (warehouse.ours, warehouse.psql("built"), warehouse.peer("polars"))
        costs = interleaved(*cases, rounds=size.rounds, warm=False)
    ours = costs["ours"]
    yield Figure("PostgreSQL: files / psql \\copy", ours, costs["built"], at_most=1.2)
    yield Figure("polars / PostgreSQL: files", costs["polars"], ours, at_least=1)
    yield Figure("the same, memory", costs["polars"], ours, at_least=10, of="memory")


def libraries(size: Size) -> Iterator[Figure]:
    """Measure against other libraries, and a run from the raw rows, with a quarter of the rows."""
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
        """Start a server, load the rows and create the views."""
        server = Postgres()
        server.start()
        try:
            path = data.create(folder, Shape(rows))
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
        """Keep what `of` created."""
        self._home = home
        self._psql = psql
        self._rows = rows

    def ours(self) -> dict[str, Cost]:
        """Write the files from the rows that dbt built; dbt's import does not count."""
        folder, steps = self._home.folder, self._home.steps
        cost = self._home.run(sys.executable, _HERE / "reading.py", folder, steps)
        return {"ours": cost - self._home.step_cost()}

    def run(self) -> dict[str, Cost]:
        """Write the files by a complete run without data tests."""
        cost, _ = self._home.inside(tested=False)
        self._home.check(self._rows)
        return {"run": cost}

    def psql(self, schema: str) -> Case:
        """Return a case that copies both files from the views of a schema, `built` or `exports`."""
        commands: list[str] = []
        for kind in ("broadcast", "activity"):
            query = f"(select * from bench_{schema}.{kind}) to 'psql-{kind}.csv'"
            commands += ["--command", f"\\copy {query} (format csv, header)"]
        return lambda: {schema: self._home.run(self._psql, "--quiet", *commands)}

    def peer(self, name: str) -> Case:
        """Return a case in which another library writes the files."""
        folder = self._home.folder / name

        def case() -> dict[str, Cost]:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            return {name: self._home.run(_PYTHON, _HERE / "peers.py", name, folder)}

        return case


def _views() -> Iterator[str]:
    """Yield the statements that copy the rows of dbt's views, and create the views of the files."""
    yield "create schema built"
    for name in ("activities_daily", "broadcasts_daily", "brands"):
        yield f"create table built.{name} as select * from exports.{name}"
    yield "vacuum analyze"
    for schema in ("built", "exports"):
        yield f"create schema bench_{schema}"
        moment, collation = "to_char({}, 'YYYY-MM-DD HH24:MI:SS')", ' collate "C"'
        for kind, query in queries.of_files(moment, collation, schema).items():
            yield f"create view bench_{schema}.{kind} as {query}"
