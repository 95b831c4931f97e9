"""A workspace for runs: a warehouse, an exports.yml and destinations in one folder."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from orchestrator import config
from orchestrator.jobs import Request
from orchestrator.pipeline import RunResult, run
from orchestrator.progress import Progress, no_progress
from orchestrator.warehouse import project
from orchestrator.windows import Days

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "dbt_project/models/staging/_sources.yml"
_TYPES = {"text": "varchar", "timestamp": "timestamptz", "boolean": "boolean"}
DEFAULTS: dict[str, dict[str, Any]] = {
    "broadcasts": {
        "channel": "email",
        "broadcast_type": "SINGLE",
        "description": "Newsletter",
        "subject": "News",
    },
    "email_bounces": {"bounce_type": "hard"},
    "email_unsubscribes": {"via_default_campaign": True},
}


@dataclass
class Workspace:
    """Runs exports as a command would, at any moment."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def __post_init__(self) -> None:
        self.warehouse = self.folder / "warehouse.duckdb"
        self.monkeypatch.setenv("DUCKDB_PATH", str(self.warehouse))
        tables = yaml.safe_load(SOURCES.read_text())["sources"][0]["tables"]
        with duckdb.connect(str(self.warehouse)) as connection:
            connection.execute("create schema raw")
            for table in tables:
                columns = ", ".join(
                    f"{column['name']} {_TYPES[column['data_type']]}" for column in table["columns"]
                )
                connection.execute(f"create table raw.{table['name']} ({columns})")

    def add(self, table: str, *rows: Mapping[str, Any]) -> None:
        """Add raw rows; moments are text in UTC, and a column that is not given has a default.

        `loaded_at` is now, unless it is given; with None the column is not filled.
        """
        with duckdb.connect(str(self.warehouse)) as connection:
            connection.execute("set TimeZone = 'UTC'")
            for given in rows:
                loaded = {"loaded_at": datetime.now(UTC)}
                row = {**loaded, **DEFAULTS.get(table, {}), **given}
                row = {k: v for k, v in row.items() if k != "loaded_at" or v}
                if "occurred_at" not in row and table.startswith("email_"):
                    row["occurred_at"] = row["received_at"]
                marks = ", ".join("?" for _ in row)
                connection.execute(
                    f"insert into raw.{table} ({', '.join(row)}) values ({marks})",
                    list(row.values()),
                )

    def query(self, text: str) -> None:
        """Run a statement in the warehouse."""
        with duckdb.connect(str(self.warehouse)) as connection:
            connection.execute(text)

    def mailing(self, brand: str, day: str, *, number: int = 1) -> None:
        """Add a broadcast of this day, and one open of it."""
        broadcast = f"{brand}-{number}"
        self.add(
            "broadcasts",
            {
                "brand": brand,
                "broadcast_id": broadcast,
                "sent_on": f"{day} 10:00:00",
                "received_at": f"{day} 09:00:00",
            },
        )
        self.opened(brand, f"{day} 11:00:00", broadcast, event_id=f"E{number}")

    def opened(
        self, brand: str, moment: str, broadcast: str, *, event_id: str, **more: object
    ) -> None:
        """Add an open."""
        self.add(
            "email_opens",
            {
                "brand": brand,
                "event_id": event_id,
                "broadcast_id": broadcast,
                "customer_id": "C1",
                "email_address": "jan@example.com",
                "received_at": moment,
                **more,
            },
        )

    def opened_by_many(self, brand: str, day: str, rows: int) -> None:
        """Add this number of opens to a day, for a large file."""
        with duckdb.connect(str(self.warehouse)) as connection:
            connection.execute("set TimeZone = 'UTC'")
            connection.execute(
                f"""
                insert into raw.email_opens by name
                select
                    '{brand}' as brand,
                    'M' || i as event_id,
                    '{brand}-1' as broadcast_id,
                    'C' || i as customer_id,
                    md5(i::varchar) || '@example.com' as email_address,
                    timestamptz '{day} 12:00:00' as occurred_at,
                    occurred_at as received_at,
                    now() as loaded_at,
                from range({rows}) as numbers (i)
                """
            )

    def configure(self, exports: str, *, defaults: str = "{}", destinations: str = "") -> None:
        """Write exports.yml; its destination is the folder `there`, unless others are given.

        The rows of a test are few and old, so `wait` is 0s unless the defaults have it.
        """
        if "wait" not in defaults:
            defaults = defaults.replace("{", "{wait: 0s, ", 1)
        text = f"destinations: {destinations or '{there: {directory: there}}'}\n"
        text += f"defaults: {defaults}\nexports:\n{exports}\n"
        (self.folder / "exports.yml").write_text(text, encoding="utf-8")
        for line in yaml.safe_load(text)["destinations"].values():
            with suppress(OSError):  # some tests name a folder that cannot exist
                (self.folder / line.get("directory", "")).mkdir(parents=True, exist_ok=True)

    def run(
        self,
        now: str,
        *,
        progress: Progress = no_progress,
        **request: Any,  # noqa: ANN401 - any of a request
    ) -> RunResult:
        """Run every due export at this moment of UTC."""
        loaded = config.read(self.folder / "exports.yml")
        found = project.find(loaded.folder, None)
        wanted = Request(**request)
        return run.run(loaded, found, wanted, now=utc(now), progress=progress)

    def files(self, folder: str = "there") -> list[str]:
        """Return the names of the delivered files, sorted."""
        return [name for name in tree(self.folder / folder) if not name.startswith(".dbt/")]

    def text(self, name: str, folder: str = "there") -> str:
        """Return the text of a delivered file."""
        return (self.folder / folder / name).read_bytes().decode()

    def all_bytes(self, folder: str = "there") -> dict[str, bytes]:
        """Return every delivered file."""
        return {name: (self.folder / folder / name).read_bytes() for name in self.files(folder)}


class Steps:
    """A `Progress` that records each step, with the function that returns its details."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._details: dict[str, Callable[[], str]] = {}

    def __call__(self, step: str, detail: Callable[[], str] | None = None, /) -> None:
        self.names.append(step)
        if detail:
            self._details[step] = detail

    def details(self) -> list[str]:
        """Return the current details of the steps that have any."""
        return [detail() for detail in self._details.values()]


def days(first: str, last: str | None = None) -> Days:
    """Return the days of a request."""
    return Days(date.fromisoformat(first), date.fromisoformat(last or first))


def utc(text: str) -> datetime:
    """Return the moment that an ISO 8601 text without an offset means in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def tree(root: Path) -> list[str]:
    """Return the relative path of every file below `root`, hidden ones too, sorted."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of modification of all files below `root`, and its folders as `name/`.

    Equal snapshots mean that nothing was created, removed or written in between.
    """
    found = {f"{path.relative_to(root)}/": (0, 0) for path in root.rglob("*") if path.is_dir()}
    for name in tree(root):
        facts = (root / name).lstat()
        found[name] = facts.st_size, facts.st_mtime_ns
    return found


def is_root() -> bool:
    """Return whether this process ignores the permissions of files."""
    return os.getuid() == 0
