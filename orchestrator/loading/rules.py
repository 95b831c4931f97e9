"""The raw contract's rules as DuckDB SQL: how the files are read, and which rows are valid.

The same rules apply to the three formats, because every value is first turned into a text or null,
and then the text is checked. Text and whole numbers in a file become text. Fractions, lists and
objects are rejected, and so are booleans and timestamps, with two exceptions: a column of type
timestamp accepts the timestamps of Parquet, and one of type boolean accepts the booleans of Parquet
and JSON.

A nullable column that a file, or a JSON object, does not have is called *omitted*. It is loaded as
null, but unlike a null it never overwrites a stored value (see orchestrator.warehouse.merging).
"""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.loading.scanning import LONGEST_RECORD
from orchestrator.warehouse.contract import Column, Table
from orchestrator.warehouse.merging import OMITTED, data_columns, omitted_bits
from orchestrator.warehouse.sql import identifier, literal

# ISO 8601 with a time of day. DuckDB alone would also accept dates, named zones and 'infinity'.
_ISO_8601 = (
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?"
    r"( ?UTC|Z| ?[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?"
)
_EARLIEST = "timestamptz '1970-01-01 00:00:00+00'"
_LATEST = "timestamptz '9999-12-31 23:59:59.999999+00'"
_QUOTED_LENGTH = 40  # characters of a value in a reason
_WHOLE_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_TEXT_TYPES = ("VARCHAR", "UUID", "JSON", "ENUM")
_NESTED_TYPES = ("STRUCT", "MAP", "UNION")


@dataclass(frozen=True)
class Cell:
    """The value of one column in a row of a file, as DuckDB expressions."""

    text: str
    """The value as text."""
    value: str = ""
    """The typed value, if the file stores the column in its type; else empty."""
    has_wrong_type: str = ""
    """A condition: the type of the value in the file is not allowed. Empty: it always is."""
    type_name: str = "''"
    """The type of the value in the file, for the reason."""
    is_omitted: str = "false"
    """A condition: the row does not have the column."""


_OMITTED_CELL = Cell("null::varchar", is_omitted="true")


@dataclass(frozen=True)
class Rules:
    """The rules of a table, for rows whose cells are given by the name of the column."""

    table: Table
    cells: Mapping[str, Cell]

    def values(self, *, replace_nul: bool) -> str:
        """Return the select list of a valid row: its typed values, and OMITTED.

        With `replace_nul` a NUL in a text becomes U+FFFD on every engine, because PostgreSQL's text
        cannot contain one.
        """
        bits = omitted_bits(self.table)
        values = [
            f"{self._value(column, replace_nul=replace_nul)} as {identifier(column.name)}"
            for column in data_columns(self.table)
        ]
        constant = sum(bit for name, bit in bits.items() if self.cells[name].is_omitted == "true")
        by_row = [
            f"case when {self.cells[name].is_omitted} then {bit} else 0 end"
            for name, bit in bits.items()
            if self.cells[name].is_omitted not in ("true", "false")
        ]
        return ", ".join(
            [*values, f"({' + '.join([str(constant), *by_row])})::bigint as {identifier(OMITTED)}"]
        )

    def is_valid_as_is(self) -> str:
        """Return the condition that a row is valid and its texts can be stored unchanged."""
        conditions = []
        for column in data_columns(self.table):
            cell, is_required = self.cells[column.name], self._is_key(column) or not column.nullable
            if column.type == "text":
                conditions.append(f"coalesce(not contains({cell.text}, chr(0)), true)")
                if is_required:
                    given = "<> ''" if self._is_key(column) else "is not null"
                    conditions.append(f"{cell.text} {given}")
            elif is_required:
                conditions.append(self._is_typed(column))
            else:
                conditions.append(f"({self._is_typed(column)} or nullif({cell.text}, '') is null)")
            if column.accepted_values:
                conditions.append(f"coalesce({cell.text} in ({_listed(column)}), true)")
            if cell.has_wrong_type:
                conditions.append(f"not coalesce({cell.has_wrong_type}, false)")
        return f"coalesce({' and '.join(conditions)}, false)"

    def reason(self) -> str:
        """Return the expression that lists every rule that a row breaks; null for a valid row.

        Values are shown only after a ": ", so the text before it can be logged.
        """
        reasons = [each for column in data_columns(self.table) for each in self._reasons(column)]
        return f"nullif(concat_ws('; ', {', '.join(reasons)}), '')"

    def has_nul(self) -> str:
        """Return the condition that a text of a valid row contains a NUL, which gets replaced."""
        return (
            " or ".join(
                f"coalesce(contains({self.cells[column.name].text}, chr(0)), false)"
                for column in data_columns(self.table)
                if column.type == "text" and not self._is_key(column)
            )
            or "false"
        )

    def _is_key(self, column: Column) -> bool:
        return column.name in self.table.key

    def _value(self, column: Column, *, replace_nul: bool = False) -> str:
        """Return the expression of the typed value; null if the text is not of the column's type.

        A timestamp without an offset is read in the session's time zone, which is UTC. Digits after
        the microsecond are cut off.
        """
        cell = self.cells[column.name]
        if column.type == "text":
            is_replaced = replace_nul and not self._is_key(column)
            return f"replace({cell.text}, chr(0), chr(65533))" if is_replaced else cell.text
        if cell.value:
            return cell.value
        if column.type == "boolean":
            return f"try_cast(nullif({cell.text}, '') as boolean)"
        # DuckDB does not read a blank before an offset, which Ruby and others write.
        text = f"replace(replace({cell.text}, ' +', '+'), ' -', '-')"
        return (
            f"case when regexp_full_match({cell.text}, '{_ISO_8601}')"
            f" then try_cast({text} as timestamptz) end"
        )

    def _is_typed(self, column: Column) -> str:
        """Return the condition that a boolean or timestamp has a value that can be stored."""
        is_timestamp = column.type == "timestamp"
        can_be = f"between {_EARLIEST} and {_LATEST}" if is_timestamp else "is not null"
        return f"{self._value(column)} {can_be}"

    def _reasons(self, column: Column) -> list[str]:
        name, cell, is_text = column.name, self.cells[column.name], column.type == "text"
        # An empty text is a value in a text column, but not in a key, a boolean or a timestamp.
        given = f"nullif({cell.text}, '')" if self._is_key(column) or not is_text else cell.text
        has_wrong_type = f"coalesce({cell.has_wrong_type or 'false'}, false)"
        reasons = []
        if self._is_key(column) or not column.nullable:
            reasons.append(f"case when {given} is null then '{name} is missing' end")
        if is_text:
            if self._is_key(column):
                reasons.append(
                    f"case when contains({cell.text}, chr(0))"
                    f" then '{name} contains a NUL character' end"
                )
            reasons.append(
                f"case when {has_wrong_type} then '{name} is neither text nor a whole number: '"
                f" || {cell.type_name} end"
            )
        else:
            expected = "a timestamp" if column.type == "timestamp" else "true or false"
            hint = (
                f" || case when regexp_full_match({cell.text}, '-?\\d{{9,}}(\\.\\d+)?') then"
                " ' (a count of seconds? Write ISO 8601, such as 2026-11-21T10:00:00Z)' else '' end"
                if column.type == "timestamp"
                else ""
            )
            reasons.append(
                f"case when {given} is not null and not coalesce({self._is_typed(column)}, false)"
                f" then '{name} is not {expected}: ' || {_quoted(cell.text)}{hint} end"
            )
        if column.accepted_values:
            expected = literal(f"{name} is not one of {', '.join(column.accepted_values)}: ")
            reasons.append(
                f"case when not {has_wrong_type} and {given} not in ({_listed(column)})"
                f" then {expected} || {_quoted(cell.text)} end"
            )
        return reasons


def _listed(column: Column) -> str:
    return ", ".join(literal(value) for value in column.accepted_values)


def _quoted(text: str) -> str:
    # If the columns of a file are shifted, any value may be an e-mail address: never show one.
    return (
        f"case when contains({text}, '@') then '(not shown)'"
        f" when length({text}) > {_QUOTED_LENGTH}"
        f" then '''' || left({text}, {_QUOTED_LENGTH}) || '…'''"
        f" else '''' || {text} || '''' end"
    )


def csv_source(path: Path, width: int, *, has_line: bool = False) -> str:
    """Return the table function that reads a CSV file into text columns c0, c1 and so on.

    `width` is the number of columns. Only an unquoted empty field is null; delimiter and quotes are
    those of RFC 4180, without sniffing. With `has_line` the file has no header, and its first
    column is the number of the line.
    """
    names = [*(["line"] if has_line else []), *(f"c{at}" for at in range(width))]
    columns = ", ".join(f"'{name}': 'varchar'" for name in names)
    return (
        f"read_csv({_path(path)}, auto_detect = false, header = {not has_line},"
        f" columns = {{{columns}}}, delim = ',', quote = '\"', escape = '\"', comment = '',"
        f" allow_quoted_nulls = false, null_padding = false,"
        f" strict_mode = true, max_line_size = {LONGEST_RECORD},"
        f" buffer_size = {4 * LONGEST_RECORD})"
    )


def csv_cells(table: Table, header: Sequence[str]) -> dict[str, Cell]:
    """Return the cells of the rows of a CSV file, as `csv_source` names the columns."""
    positions = {name: at for at, name in enumerate(header)}
    return {
        column.name: Cell(f"c{positions[column.name]}")
        if column.name in positions
        else _OMITTED_CELL
        for column in data_columns(table)
    }


def parquet_source(path: Path) -> str:
    """Return the table function that reads a Parquet file."""
    return f"read_parquet({_path(path)}, binary_as_string = true, hive_partitioning = false)"


def parquet_cells(table: Table, types: Mapping[str, str]) -> dict[str, Cell]:
    """Return the cells of the rows of a Parquet file; `types` are DuckDB's, by column."""
    return {
        column.name: _typed(column, identifier(column.name), types[column.name])
        if column.name in types
        else _OMITTED_CELL
        for column in data_columns(table)
    }


def _typed(column: Column, name: str, kind: str) -> Cell:
    text = f"cast({name} as varchar)"
    if kind.endswith("]") or kind.startswith(_NESTED_TYPES):
        return Cell(
            text,
            has_wrong_type=f"{name} is not null",
            type_name=literal(kind.split("(", maxsplit=1)[0]),
        )
    if kind.startswith(_TEXT_TYPES):
        return Cell(text if kind != "VARCHAR" else name)
    if kind.removeprefix("U").startswith(_WHOLE_TYPES) or kind.endswith(",0)"):
        return Cell(text)
    if kind == "BOOLEAN" and column.type == "boolean":
        return Cell(text, value=name)
    if kind.startswith("TIMESTAMP") and column.type == "timestamp":
        timestamp = name if "ZONE" in kind or "TZ" in kind else f"try_cast({name} as timestamp)"
        return Cell(text, value=f"try_cast({timestamp} as timestamptz)")
    return Cell(text, has_wrong_type=f"{name} is not null", type_name=literal(kind))


def json_source(path: Path, names: Sequence[str]) -> str:
    """Return the table function that reads a JSON Lines file, each column as JSON.

    It fails if a line is not an object.
    """
    columns = ", ".join(f"{identifier(name)}: 'json'" for name in names)
    return (
        f"read_json({_path(path)}, format = 'newline_delimited', columns = {{{columns}}},"
        f" maximum_object_size = {LONGEST_RECORD})"
    )


def json_cells(table: Table, *, is_omitted: str) -> dict[str, Cell]:
    """Return the cells of rows whose columns are of DuckDB's type JSON.

    `is_omitted` is the condition that the object does not have the key, with `{}` for the column.
    """

    def cell(column: Column) -> Cell:
        name = identifier(column.name)
        value = f"{name}::varchar"
        # `case`, because DuckDB computes both sides of an `or` for every row.
        is_no_text = (
            f"case when starts_with({value}, '\"') then false"
            f" else not regexp_full_match({value}, '-?\\d+|null') end"
        )
        return Cell(
            f"json_extract_string({name}, '$')",
            has_wrong_type=is_no_text if column.type == "text" else "",
            type_name=f"lower(json_type({name})::varchar)",
            is_omitted=is_omitted.format(name),
        )

    return {column.name: cell(column) for column in data_columns(table)}


def object_sql(header: Sequence[str], *, by_position: bool) -> str:
    """Return the expression of a row as a JSON object, for reject files.

    A column without a name is left out. With `by_position` the columns are named c0, c1 and so on.
    """
    pairs = (
        f"{literal(name)}, {f'c{at}' if by_position else f'cast({identifier(name)} as varchar)'}"
        for at, name in enumerate(header)
        if name
    )
    return f"json_object({', '.join(pairs)})"


def _path(path: Path) -> str:
    return literal(glob.escape(str(path)))
