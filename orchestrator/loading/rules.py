"""The raw contract's rules as DuckDB SQL: how the files are read, and what makes a row good.

The three formats obey one rule. Each cell of a row is a text, or null, and a format says only how
it gets there: what is a text or a whole number in the file becomes a text; a number with a
fraction, a boolean, a moment, a list or an object does not. Only a column of type timestamp takes
a moment of Parquet, and only one of type boolean takes a boolean of Parquet or JSON.
"""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.loading.records import LONGEST_RECORD
from orchestrator.warehouse.contract import Column, Table
from orchestrator.warehouse.merging import LACKS, data_columns, lack_bits
from orchestrator.warehouse.sql import identifier, literal

# ISO 8601 with a time of day. DuckDB alone would also take dates, named zones and 'infinity'.
_MOMENT = (
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?"
    r"( ?UTC|Z| ?[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?"
)
_EARLIEST = "timestamptz '1970-01-01 00:00:00+00'"
_LATEST = "timestamptz '9999-12-31 23:59:59.999999+00'"
_QUOTED_LENGTH = 40
_WHOLE_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_TEXT_TYPES = ("VARCHAR", "UUID", "JSON", "ENUM")
_NESTED_TYPES = ("STRUCT", "MAP", "UNION")


@dataclass(frozen=True)
class Cell:
    """A column of a file, as DuckDB expressions.

    `text` is its text. `value` is its typed value where the file has the very type, else empty.
    `wrong` is true where the file's own type rules a value out, and `kind` names that type.
    `absent` is true where a row does not have the column.
    """

    text: str
    value: str = ""
    wrong: str = ""
    kind: str = "''"
    absent: str = "false"


ABSENT = Cell("null::varchar", absent="true")


@dataclass(frozen=True)
class Rules:
    """The rules of a table for rows whose cells are given by column name."""

    table: Table
    cells: Mapping[str, Cell]

    def values(self) -> str:
        """Return the select list of a good row: its typed values, and which columns it lacks."""
        bits = lack_bits(self.table)
        values = [
            f"{self._value(column, mended=True)} as {identifier(column.name)}"
            for column in data_columns(self.table)
        ]
        constant = sum(bit for name, bit in bits.items() if self.cells[name].absent == "true")
        lacks = [
            f"case when {self.cells[name].absent} then {bit} else 0 end"
            for name, bit in bits.items()
            if self.cells[name].absent not in ("true", "false")
        ]
        return ", ".join(
            [*values, f"({' + '.join([str(constant), *lacks])})::bigint as {identifier(LACKS)}"]
        )

    def is_clean(self) -> str:
        """Return the condition that a row is good and is stored as it is."""
        conditions = []
        for column in data_columns(self.table):
            cell = self.cells[column.name]
            value = self._value(column)
            present = f"nullif({cell.text}, '') is null"
            if column.type == "text":
                value = cell.text
                present = f"{cell.text} is null"
                conditions.append(f"coalesce(not contains({cell.text}, chr(0)), true)")
            required = (
                f"{value} <> ''"
                if self._is_key(column) and column.type == "text"
                else (f"{value} is not null")
            )
            optional = column.nullable and not self._is_key(column)
            conditions.append(f"({required} or {present})" if optional else required)
            if column.accepted_values:
                conditions.append(f"coalesce({cell.text} in ({_listed(column)}), true)")
            if cell.wrong:
                conditions.append(f"not coalesce({cell.wrong}, false)")
        return f"coalesce({' and '.join(conditions)}, false)"

    def reason(self) -> str:
        """Return the expression that names every rule a row breaks; null for a good row."""
        reasons = [each for column in data_columns(self.table) for each in self._reasons(column)]
        return f"nullif(concat_ws('; ', {', '.join(reasons)}), '')"

    def is_mended(self) -> str:
        """Return the condition that a text of a good row has a NUL, which is replaced."""
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

    def _value(self, column: Column, *, mended: bool = False) -> str:
        """Return the typed value; null where the text is not a value of the column's type.

        A moment without an offset is in the session's time zone, which is UTC. Digits past the
        microsecond are cut off. PostgreSQL's text cannot contain a NUL, and the same rows must
        load on every engine.
        """
        cell = self.cells[column.name]
        if column.type == "boolean":
            return cell.value or f"try_cast(nullif({cell.text}, '') as boolean)"
        if column.type == "timestamp":
            # DuckDB knows no blank before an offset, which Ruby and others write.
            text = f"replace(replace({cell.text}, ' +', '+'), ' -', '-')"
            moment = cell.value or f"try_cast({text} as timestamptz)"
            pattern = "" if cell.value else f"regexp_full_match({cell.text}, '{_MOMENT}') and "
            return (
                f"case when {pattern}{moment} between {_EARLIEST} and {_LATEST} then {moment} end"
            )
        if mended and not self._is_key(column):
            return f"replace({cell.text}, chr(0), chr(65533))"
        return cell.text

    def _reasons(self, column: Column) -> list[str]:
        name, cell, is_text = column.name, self.cells[column.name], column.type == "text"
        # A boolean or a moment has no empty value, and a key must say something.
        present = f"nullif({cell.text}, '')" if self._is_key(column) or not is_text else cell.text
        wrong = f"coalesce({cell.wrong or 'false'}, false)"
        reasons = []
        if self._is_key(column) or not column.nullable:
            reasons.append(f"case when {present} is null then '{name} is missing' end")
        if is_text:
            if self._is_key(column):
                reasons.append(
                    f"case when contains({cell.text}, chr(0))"
                    f" then '{name} contains a NUL character' end"
                )
            reasons.append(
                f"case when {wrong} then '{name} is neither a text nor a whole number: '"
                f" || {cell.kind} end"
            )
        else:
            expected = "a moment" if column.type == "timestamp" else "true or false"
            hint = (
                f" || case when regexp_full_match({cell.text}, '-?\\d{{9,}}(\\.\\d+)?') then"
                " ' (a count of seconds? Write ISO 8601, such as 2026-11-21T10:00:00Z)' else '' end"
                if column.type == "timestamp"
                else ""
            )
            reasons.append(
                f"case when {present} is not null and {self._value(column)} is null"
                f" then '{name} is not {expected}: ' || {_quoted(cell.text)}{hint} end"
            )
        if column.accepted_values:
            expected = literal(f"{name} is not one of {', '.join(column.accepted_values)}: ")
            reasons.append(
                f"case when not {wrong} and {present} not in ({_listed(column)})"
                f" then {expected} || {_quoted(cell.text)} end"
            )
        return reasons


def _listed(column: Column) -> str:
    return ", ".join(literal(value) for value in column.accepted_values)


def _quoted(text: str) -> str:
    # In a file with shifted columns any value may be an address, and a reason shows none.
    return (
        f"case when contains({text}, '@') then '(not shown)'"
        f" when length({text}) > {_QUOTED_LENGTH}"
        f" then '''' || left({text}, {_QUOTED_LENGTH}) || '…'''"
        f" else '''' || {text} || '''' end"
    )


def csv_source(path: Path, width: int, *, has_line: bool = False) -> str:
    """Return the source of a CSV file, whose columns are named c0, c1 and so on.

    Only an unquoted empty field is null (RFC 4180), and nothing is guessed. With `has_line` the
    file has no header, and a column `line` before all others.
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
    """Return the cells of a CSV file."""
    places = {name: at for at, name in enumerate(header)}
    return {
        column.name: Cell(f"c{places[column.name]}") if column.name in places else ABSENT
        for column in data_columns(table)
    }


def parquet_source(path: Path) -> str:
    """Return the source of a Parquet file."""
    return f"read_parquet({_path(path)}, binary_as_string = true, hive_partitioning = false)"


def parquet_cells(table: Table, types: Mapping[str, str]) -> dict[str, Cell]:
    """Return the cells of a Parquet file, whose columns have these types in DuckDB."""
    return {
        column.name: _typed(column, identifier(column.name), types[column.name])
        if column.name in types
        else ABSENT
        for column in data_columns(table)
    }


def _typed(column: Column, name: str, kind: str) -> Cell:
    text = f"cast({name} as varchar)"
    if kind.endswith("]") or kind.startswith(_NESTED_TYPES):
        return Cell(text, wrong=f"{name} is not null", kind=literal(kind.split("(", maxsplit=1)[0]))
    if kind.startswith(_TEXT_TYPES):
        return Cell(text if kind != "VARCHAR" else name)
    if kind.removeprefix("U").startswith(_WHOLE_TYPES) or kind.endswith(",0)"):
        return Cell(text)
    if kind == "BOOLEAN" and column.type == "boolean":
        return Cell(text, value=name)
    if kind.startswith("TIMESTAMP") and column.type == "timestamp":
        moment = name if "ZONE" in kind or "TZ" in kind else f"try_cast({name} as timestamp)"
        return Cell(text, value=f"try_cast({moment} as timestamptz)")
    return Cell(text, wrong=f"{name} is not null", kind=literal(kind))


def json_source(path: Path, names: Sequence[str]) -> str:
    """Return the source of a JSON Lines file, each column as JSON; it fails on any other line."""
    columns = ", ".join(f"{identifier(name)}: 'json'" for name in names)
    return (
        f"read_json({_path(path)}, format = 'newline_delimited', columns = {{{columns}}},"
        f" maximum_object_size = {LONGEST_RECORD})"
    )


def json_cells(table: Table, *, absent: str) -> dict[str, Cell]:
    """Return the cells of rows whose columns are JSON.

    `absent` is the condition, with `{}` for the column, that the object does not have the key.
    """

    def cell(column: Column) -> Cell:
        name = identifier(column.name)
        value = f"nullif({name}::varchar, 'null')"
        is_fit = f"starts_with({value}, '\"') or regexp_full_match({value}, '-?\\d+')"
        return Cell(
            f"json_extract_string({name}, '$')",
            wrong=f"not ({is_fit})" if column.type == "text" else "",
            kind=f"lower(json_type({name})::varchar)",
            absent=absent.format(name),
        )

    return {column.name: cell(column) for column in data_columns(table)}


def object_sql(header: Sequence[str], *, by_place: bool) -> str:
    """Return a row as a JSON object; a column without a name is left out."""
    pairs = (
        f"{literal(name)}, {f'c{at}' if by_place else f'cast({identifier(name)} as varchar)'}"
        for at, name in enumerate(header)
        if name
    )
    return f"json_object({', '.join(pairs)})"


def _path(path: Path) -> str:
    return literal(glob.escape(str(path)))
