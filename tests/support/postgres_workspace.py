"""A workspace whose warehouse is a PostgreSQL database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import duckdb
import psycopg
from postgres_server import profile_output
from psycopg import sql
from psycopg.conninfo import make_conninfo
from raw_files import CONTRACT
from workspace import DEFAULTS, Workspace

from orchestrator.warehouse.postgres.loader import PostgresLoader


@dataclass
class PostgresWorkspace(Workspace):
    """Runs exports of a PostgreSQL database, named by libpq's variables."""

    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.monkeypatch.setenv("ORCHESTRATE_TARGET", "postgres")
        for name, value in self.environment.items():
            self.monkeypatch.setenv(name, value)

    @property
    def output(self) -> dict[str, Any]:
        """The target `postgres` of profiles.yml for this database."""
        return profile_output(self.environment)

    def connect(self, **more: str) -> psycopg.Connection:
        """Connect to the database; `more` are other parameters of libpq."""
        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}
        given = {key: self.environment[name] for key, name in names.items()}
        return psycopg.connect(make_conninfo("", **{**given, **more}), autocommit=True)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in UTC, and return its rows."""
        with self.connect(options="-c timezone=UTC") as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def prepare(self) -> None:
        """Create the raw tables."""
        with PostgresLoader(self.output, duckdb.connect()) as loader:
            for table in CONTRACT.tables:
                loader.prepare(table)

    def add(self, table: str, *rows: Mapping[str, Any]) -> None:
        with self.connect(options="-c timezone=UTC") as connection:
            for given in rows:
                row = {"loaded_at": datetime.now(UTC), **DEFAULTS.get(table, {}), **given}
                if table.startswith("email_"):
                    row.setdefault("occurred_at", row["received_at"])
                query = sql.SQL("insert into raw.{} ({}) values ({})").format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(map(sql.Identifier, row)),
                    sql.SQL(", ").join(sql.Placeholder() for _ in row),
                )
                connection.execute(query, list(row.values()))
