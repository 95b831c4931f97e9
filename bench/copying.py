"""DuckDB's own COPY of the rows of a window, in the order and with the columns of the files.

Usage: python bench/copying.py DATABASE FOLDER: writes activity.csv and broadcast.csv.
"""

import sys

import duckdb
import queries


def main(database: str, folder: str) -> None:
    """Write both files, with DuckDB's default settings: it may use most of the memory."""
    with duckdb.connect(database, read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        for kind, query in queries.of_files("strftime({}, '%Y-%m-%d %H:%M:%S')").items():
            connection.execute(f"copy ({query}) to '{folder}/{kind}.csv' (format csv, header)")


if __name__ == "__main__":
    main(*sys.argv[1:])
