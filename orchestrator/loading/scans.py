"""Raw files as DuckDB SQL: their columns as texts, named c0, c1 … in the order of the header."""

import glob
from collections.abc import Sequence
from pathlib import Path

from orchestrator.loading.lines import LONGEST_RECORD
from orchestrator.sql import identifier, literal


def parquet_sql(path: Path, header: Sequence[str]) -> str:
    """Return the query of a Parquet file."""
    columns = (f"cast({identifier(name)} as varchar) as c{at}" for at, name in enumerate(header))
    return (
        f"select {', '.join(columns)} from read_parquet({_literal(path)},"  # noqa: S608 - quoted
        " binary_as_string = true, hive_partitioning = false)"
    )


def csv_sql(path: Path, header: Sequence[str], *, is_sifted: bool = False) -> str:
    """Return the query of a CSV file; a sifted one has no header, and a column `line` before all.

    It keeps to RFC 4180: only an unquoted empty field is null, and nothing is guessed.
    """
    names = [*(["line"] if is_sifted else []), *(f"c{at}" for at in range(len(header)))]
    columns = ", ".join(f"'{name}': 'varchar'" for name in names)
    return (
        f"from read_csv({_literal(path)}, auto_detect = false, header = {not is_sifted},"
        f" columns = {{{columns}}}, delim = ',', quote = '\"', escape = '\"', comment = '',"
        f" allow_quoted_nulls = false, null_padding = false,"
        f" strict_mode = true, max_line_size = {LONGEST_RECORD},"
        f" buffer_size = {4 * LONGEST_RECORD})"
    )


def csv_line_sql(header: Sequence[str]) -> str:
    """Return the line on which a row of a clean CSV starts: newlines inside fields count."""
    text = f"concat({', '.join(f'c{at}' for at in range(len(header)))})"
    newlines = f"(strlen({text}) - strlen(replace({text}, chr(10), '')))"
    start = 2 + sum(name.count("\n") for name in header)
    return (
        f"({start} + rowid + coalesce(sum({newlines}) over (order by rowid"
        " rows between unbounded preceding and 1 preceding), 0))::bigint"
    )


def object_sql(header: Sequence[str]) -> str:
    """Return a row as a JSON object."""
    pairs = (f"{literal(name)}, c{at}" for at, name in enumerate(header))
    return f"json_object({', '.join(pairs)})"


def json_sql(names: Sequence[str]) -> str:
    """Return the query of the table `lines`, whose column `object` is a JSON object or null."""
    pointers = ", ".join(literal(f"/{name}") for name in names)
    columns = "".join(f", texts[{at + 1}] as c{at}" for at in range(len(names)))
    return (
        f"select line, object{columns} from (select line, object,"  # noqa: S608 - quoted
        f" json_extract_string(object, [{pointers}]) as texts from lines where object is not null)"
    )


def _literal(path: Path) -> str:
    return literal(glob.escape(str(path)))
