r"""Files from PostgreSQL against psql's own COPY of the same ordered rows.

Usage: python bench/postgres.py [ROWS]. It starts a server of its own, makes a day of ROWS opens,
and prints seconds, and ratios to `psql \copy`. Trust the ratios.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import psycopg
from postgres import Postgres

from orchestrator import config, files, project
from orchestrator.contract import read_contract
from orchestrator.engines.postgres_loader import PostgresLoader
from orchestrator.exports import KINDS
from orchestrator.stage import Stage
from orchestrator.warehouse import Warehouse
from orchestrator.windows import Window

_T = TypeVar("_T")
_WINDOW = Window(datetime(2026, 11, 21, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC))
_BRANDS = 4
_ORDER = """brand collate "C", activity_date, broadcast_id collate "C", customer_id collate "C",
    activity collate "C", event_id collate "C" """
_FIELDS = """broadcast_id, customer_id, external_customer_number, email_address, activity,
    to_char(activity_date, 'YYYY-MM-DD HH24:MI:SS'), description"""


def main(rows: int) -> None:
    """Measure."""
    server = Postgres()
    server.start()
    try:
        os.environ |= {**server.warehouse(), "ORCHESTRATE_TARGET": "postgres"}
        with tempfile.TemporaryDirectory() as folder:
            _measure(server, Path(folder), rows)
    finally:
        server.stop()


def _measure(server: Postgres, folder: Path, rows: int) -> None:
    (folder / "exports.yml").write_text(
        "destinations: {there: {directory: there}}\n"
        "exports:\n" + "".join(f"  - brand: B{number}\n" for number in range(_BRANDS))
    )
    there = project.find(folder, None)
    _fill(there, rows)
    loaded = config.load(folder / "exports.yml")
    for name in ("work", "cache"):
        (folder / name).mkdir()
    warehouse = Warehouse.open(there, folder / "work", folder / "cache")
    try:
        built, _ = _timed(lambda: warehouse.dbt.build(_WINDOW))
        frozen, _ = _timed(lambda: warehouse.dbt.build(_WINDOW, tested=False))
        relation = warehouse.dbt.relation
        relations = {view: relation(view) for view in ("activities_daily", "broadcasts_daily")}
        read, stage = _timed(lambda: warehouse.engine.read(relations, relation("int_brands")))
        forms = [warehouse.form(loaded, loaded.exports[0], kind) for kind in KINDS]
        written, _ = _timed(lambda: _write(stage, forms, folder))
        again, _ = _timed(lambda: warehouse.engine.read(relations, relation("int_brands")))
        rewritten, _ = _timed(lambda: _write(stage, forms, folder))
        of_table = _psql(server, folder, relation("activities_daily"))
        of_table = min(of_table, _psql(server, folder, relation("activities_daily")))
        _make_views(there)
        of_view = _psql(server, folder, "exports.activities_daily")
    finally:
        warehouse.close()
    size = sum(path.stat().st_size for path in folder.glob("*.file"))
    copied = min(read, again) + min(written, rewritten)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{rows:,} rows, {size / 1e6:,.0f} MB of files, {memory:,.0f} MB of memory at most")
    print("of the window's rows, made and tested:")
    print(f"  psql \\copy in order       {of_table:6.1f} s  1.00")
    print(f"  read, and a file a brand  {copied:6.1f} s {copied / of_table:5.2f}")
    print("of the raw rows:")
    print(f"  psql \\copy of the view    {of_view:6.1f} s  1.00")
    print(
        f"  made, and read and files  {frozen + copied:6.1f} s {(frozen + copied) / of_view:5.2f}"
    )
    print(f"  the same, and tested      {built + copied:6.1f} s {(built + copied) / of_view:5.2f}")


def _fill(there: project.Project, rows: int) -> None:
    """Make a day of opens, and ten days before it of a tenth as many."""
    with PostgresLoader(there.output) as loader:
        for table in read_contract(there.folder).tables:
            loader.prepare(table)
    with psycopg.connect("", autocommit=True) as connection:
        for statement in (
            f"""insert into raw.broadcasts select 'B' || n % {_BRANDS}, 'mailing-' || n, 'email',
            'SINGLE', 'Newsletter ' || n, 'What is new, part ' || n, '2026-11-20', '2026-11-20'
            from generate_series(1, 1000) n""",
            f"""insert into raw.customers select 'B' || n % {_BRANDS}, 'C' || n, 'CRM-' || n,
            'person.' || n || '@example.com' from generate_series(1, {rows // 10 + 1}) n""",
            f"""insert into raw.email_opens select 'open-' || n, 'B' || n % {_BRANDS},
            'mailing-' || 1 + n % 997, 'C' || 1 + n % ({rows} / 10 + 1), null, t, t, false,
            'iOS', false from (select n, case when n <= {rows} then timestamptz '2026-11-21'
            + n * 86000.0 / {rows} * interval '1 s' else timestamptz '2026-11-11'
            + (n - {rows}) * 860000.0 / {rows} * interval '1 s' end as t
            from generate_series(1, 2 * {rows}) n) _""",
            "vacuum analyze",
        ):
            connection.execute(statement.encode())


def _write(stage: Stage, forms: Iterable[files.Form], folder: Path) -> None:
    for form in forms:
        paths = {f"B{n}": folder / f"{form.kind}{n}.file" for n in range(_BRANDS)}
        files.write(stage, form, paths)


def _make_views(there: project.Project) -> None:
    variables = {"window_start": str(_WINDOW.start), "window_end": str(_WINDOW.end)}
    command = [Path(sys.executable).with_name("dbt"), "--quiet", "run"]
    command += ["--project-dir", there.folder, "--profiles-dir", there.folder.parent / "profiles"]
    command += ["--target", "postgres", "--vars", json.dumps(variables)]
    with tempfile.TemporaryDirectory() as target:
        subprocess.run([*command, "--target-path", target, "--log-path", target], check=True)


def _psql(server: Postgres, folder: Path, relation: str) -> float:
    query = f"select {_FIELDS} from {relation} order by {_ORDER}"
    command = f"\\copy ({' '.join(query.split())}) to '{folder}/psql' (format csv)"
    psql = [server.program("psql"), "--quiet", "--command", command]
    return _timed(lambda: subprocess.run(psql, check=True))[0]


def _timed(call: Callable[[], _T]) -> tuple[float, _T]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
