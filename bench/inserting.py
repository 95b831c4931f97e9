"""DuckDB's own insert of the raw files in `files`: python bench/inserting.py FORMAT.

It uses DuckDB's own settings: it may take most of the memory.
"""

import sys
from pathlib import Path

import data
import duckdb

_READERS = {
    "parquet": "read_parquet('{}')",
    "csv": "read_csv('{}', header = true, columns = {{{}}})",
    "jsonl": "read_json('{}', format = 'newline_delimited', columns = {{{}}})",
}


def main(name: str) -> None:
    """Insert every file into a table of its columns, with the casts of a load."""
    with duckdb.connect("warehouse.duckdb") as connection:
        connection.execute("set TimeZone = 'UTC'; create schema raw")
        for table, columns in data.events(Path()).items():
            types = ", ".join(f"{column} {kind}" for column, kind in columns.items())
            texts = ", ".join(f"{column}: 'varchar'" for column in columns)
            casts = ", ".join(f"cast({column} as {kind})" for column, kind in columns.items())
            source = _READERS[name].format(f"files/{table}.{name}", texts)
            connection.execute(f"create table raw.{table} ({types}, loaded_at timestamptz)")
            connection.execute(f"insert into raw.{table} select {casts}, now() from {source}")


if __name__ == "__main__":
    main(sys.argv[1])
