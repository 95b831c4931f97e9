"""The raw contract's rules as DuckDB SQL: the value of a text, and why a row is rejected."""

import glob
from collections.abc import Sequence
from pathlib import Path

from orchestrator.loading.lines import LONGEST_RECORD
from orchestrator.warehouse.contract import Column, Table
from orchestrator.warehouse.sql import identifier, literal

# ISO 8601 with a time of day. DuckDB alone would also take dates, named zones and 'infinity'.
_MOMENT = (
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?( ?UTC|Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?"
)
_EARLIEST = "timestamptz '1970-01-01 00:00:00+00'"
_LATEST = "timestamptz '9999-12-31 23:59:59.999999+00'"
_QUOTED_LENGTH = 40


def value_sql(column: Column, text: str) -> str:
    """Return the DuckDB expression of the typed value of `text`, an expression of type VARCHAR.

    A text without an offset is taken in the session's time zone, which must be UTC. Digits
    past the microsecond are cut off. What is no value of the column's type becomes null.
    """
    if column.type == "boolean":
        return f"try_cast(nullif({text}, '') as boolean)"
    if column.type == "timestamp":
        moment = f"try_cast({text} as timestamptz)"
        return (
            f"case when regexp_full_match({text}, '{_MOMENT}')"
            f" and {moment} between {_EARLIEST} and {_LATEST} then {moment} end"
        )
    return text


def reason_sql(table: Table, texts: dict[str, str]) -> str:
    """Return the DuckDB expression that names every rule a row breaks; null for a good row.

    `texts` gives each column's text as a DuckDB expression of type VARCHAR.
    """
    rules = [
        rule
        for column in table.columns
        for rule in _rules(column, texts[column.name], is_key=column.name in table.key)
    ]
    return f"nullif(concat_ws('; ', {', '.join(rules)}), '')"


def _rules(column: Column, text: str, *, is_key: bool) -> list[str]:
    name = column.name
    is_text = column.type == "text"
    # A boolean or a moment has no empty value, and a key must say something.
    present = f"nullif({text}, '')" if is_key or not is_text else text
    rules = []
    if is_key or not column.nullable:
        rules.append(f"case when {present} is null then '{name} is missing' end")
    if is_text:
        # PostgreSQL's text cannot hold it; the same rows must load on every engine.
        rules.append(
            f"case when contains({text}, chr(0)) then '{name} holds a NUL character' end",
        )
    else:
        expected = "a moment" if column.type == "timestamp" else "true or false"
        rules.append(
            f"case when {present} is not null and {value_sql(column, text)} is null"
            f" then '{name} is not {expected}: ' || {_quoted(text)} end",
        )
    if column.accepted_values:
        values = ", ".join(literal(value) for value in column.accepted_values)
        expected = literal(f"{name} is not one of {', '.join(column.accepted_values)}: ")
        rules.append(
            f"case when {present} not in ({values}) then {expected} || {_quoted(text)} end",
        )
    return rules


def _quoted(text: str) -> str:
    # In a file with shifted columns any value may be an address, and a reason shows none.
    return (
        f"case when contains({text}, '@') then '(not shown)'"
        f" when length({text}) > {_QUOTED_LENGTH}"
        f" then '''' || left({text}, {_QUOTED_LENGTH}) || '…'''"
        f" else '''' || {text} || '''' end"
    )


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
