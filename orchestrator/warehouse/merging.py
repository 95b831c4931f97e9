"""Merge arriving rows into a raw table, with the same SQL on DuckDB and PostgreSQL.

An arriving row is new, or it changes a stored row, or it is already present. The third case makes
it safe to load a file twice.

- **Events** never change. An arriving row is the same event as a stored row if its key and all
  required columns are equal, and each nullable column is equal or unknown in one of the two rows.
  Unknown means null, or omitted: the file does not have the column. If the stored value is unknown
  and the arriving one is known, it is filled in. So after a column was added to the raw contract,
  loading a file again fills that column in the stored rows. (An empty text is
  not unknown: a row with an empty text and a row with a null are two events.)
- **Entities** have one row for each key. An arriving row replaces the stored one, unless the table
  has `received_at` and the arriving row is older. An omitted column keeps its stored value.

`loaded_at` is the time at which a row reached the table. It is not compared. A stored event that is
filled in keeps its `loaded_at`: otherwise the run would take it for a late row. A row that replaces
an entity gets a new one.
"""

# ruff: noqa: S608 -- names come from the checked contract, types from the database
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from orchestrator.errors import ExportError, UsageError
from orchestrator.warehouse import MergeCounts
from orchestrator.warehouse.contract import RECEIVED_AT, Column, ColumnType, Table
from orchestrator.warehouse.sql import identifier, literal

LOADED_AT = "loaded_at"
OMITTED = "(omitted)"
"""An extra column of arriving rows: an integer with one bit for each nullable column, which is 1 if
the file does not have that column (`omitted_bits`). No column of the contract can have this name.
"""
_CAST = "incoming"  # the arriving rows, cast to the types of the stored columns
_MOST_NULLABLE = 63  # bits of a bigint


def data_columns(table: Table) -> list[Column]:
    """Return the columns of a table that files fill: all except `loaded_at`."""
    return [column for column in table.columns if column.name != LOADED_AT]


def omitted_bits(table: Table) -> dict[str, int]:
    """Return the bit of each nullable column in OMITTED. Raises UsageError for more than 63."""
    names = [column.name for column in data_columns(table) if column.nullable]
    if len(names) > _MOST_NULLABLE:
        raise UsageError(
            f"{table.name} has {len(names)} nullable columns; load supports {_MOST_NULLABLE}"
        )
    return {name: 1 << position for position, name in enumerate(names)}


def refuse_missing_rows(stored: str, *, expected: int, written: int) -> None:
    """Raise ExportError if fewer or more rows were written to a table than were sent to it."""
    if written != expected:
        raise ExportError(
            f"{stored}: {expected - written} of {expected} rows did not reach the table"
            " (a trigger or a rule?); none were loaded"
        )


@dataclass(frozen=True)
class Merge:
    """The merge of arriving rows into one raw table, all within the caller's transaction."""

    table: Table
    stored: str
    """The relation of the stored rows."""
    arriving: str
    """The relation of the arriving rows. Of each event or entity it has one row."""
    types: Mapping[str, str]
    """The types of the stored columns, by name in lower case."""
    usual: Mapping[ColumnType, str]
    """The types of the arriving columns, by type in the raw contract."""
    row: str
    """The engine's hidden column that identifies a row: rowid, ctid."""
    temporary: str
    """How the engine creates a temporary table from a query; `{}` is the name of the table."""
    sort: bool
    """Whether to store the new rows in the order of `received_at`."""
    quoted: Callable[[str], str]
    """Quotes the name of a column."""
    collations: Mapping[str, str]
    """The `collate` clauses with which columns of the key are compared, by name. A column that is
    not in it is compared with its own collation."""
    execute: Callable[[str], int]
    """Runs a statement and returns how many rows it wrote."""
    fetch: Callable[[str], tuple[Any, ...]]
    """Returns the first row of a query."""

    def compare(self) -> "Merge":
        """Compare the arriving rows with the stored ones; return the merge to `write`.

        Creates four temporary tables, in which `new_row` and `old_row` identify an arriving and a
        stored row:

        - `matched`: each arriving row with each stored row of the same event or entity, and whether
          it `changes` that row;
        - `changing`: the pairs of these that are written, at most one for each arriving row;
        - `known`: the arriving rows that are not new;
        - `merged`: the values to store for each pair of `changing`.
        """
        columns = data_columns(self.table)
        types = {column.name: self.types[column.name.lower()] for column in columns}
        is_usual = all(types[column.name] == self.usual[column.type] for column in columns)
        if not is_usual and self.arriving != _CAST:
            # The stored type may be less precise, such as timestamps in seconds. Compared without
            # this cast, a row would differ from itself after each load.
            values = ", ".join(
                f"{_cast(self.quoted(c.name), c.type, types[c.name])} as {self.quoted(c.name)}"
                for c in columns
            )
            rows = f"select {values}, {identifier(OMITTED)} from {self.arriving}"
            self.execute(f"{self.temporary.format(_CAST)} {rows}")
            return replace(self, arriving=_CAST).compare()
        self._match()
        return self

    def write(self, now: datetime) -> MergeCounts:
        """Write to the stored table, with `now` as the `loaded_at` of new rows; return the counts.

        Raises ExportError if the table does not take every row.
        """
        arriving, known, replaced = self.fetch(
            f"select (select count(*) from {self.arriving}), (select count(*) from known),"
            " (select count(*) from changing)"
        )
        names = [self.quoted(column.name) for column in data_columns(self.table)]
        loaded_at = ""
        if LOADED_AT in self.types and any(c.name == LOADED_AT for c in self.table.columns):
            loaded_at = f"cast(timestamptz {literal(now.isoformat())} as {self.types[LOADED_AT]})"
        if self.table.kind == "entity":
            # All stored rows of the key: another program may have written several.
            self.execute(
                f"delete from {self.stored} as old using matched"
                f" where old.{self.row} = matched.old_row and exists"
                " (select 1 from changing where changing.new_row = matched.new_row)"
            )
            self._insert(names, "merged", loaded_at, replaced)
        elif replaced:
            # update, not delete and insert: the table may have more columns than the contract.
            filled = ", ".join(
                f"{self.quoted(name)} = merged.{self.quoted(name)}"
                for name in omitted_bits(self.table)
            )
            self.execute(
                f"update {self.stored} as old set {filled} from merged"
                f" where old.{self.row} = merged.old_row"
            )
        fresh = (
            f"(select * from {self.arriving} as new where not exists"
            f" (select 1 from known where known.new_row = new.{self.row})) as fresh"
        )
        self._insert(names, fresh if known else self.arriving, loaded_at, arriving - known)
        return MergeCounts(added=arriving - known, replaced=replaced, present=known - replaced)

    def _match(self) -> None:
        """Create the temporary tables that `compare` describes."""
        old_and_new = f"from {self.arriving} as new join {self.stored} as old on {self._keys()}"
        if self.table.kind == "event":
            matched = f"{self._fills()} as changes {old_and_new} and {self._is_same_event()}"
        else:
            matched = f"{self._replaces()} as changes {old_and_new}"
        self.execute(
            f"{self.temporary.format('matched')} select new.{self.row} as new_row,"
            f" old.{self.row} as old_row, {matched} and {self._in_range()}"
        )
        # An arriving event that is equal to one stored row changes no other row. A stored row is
        # changed by one arriving row: if two could fill it in, the second one is a new event.
        self.execute(
            f"{self.temporary.format('changing')} select min(new_row) as new_row, old_row from"
            " (select new_row, min(old_row) as old_row from matched group by new_row"
            " having bool_and(changes)) as chosen group by old_row"
        )
        self.execute(
            f"{self.temporary.format('known')} select new_row from matched where not changes"
            " union select new_row from changing"
        )
        values = ", ".join(
            f"{self._merged(column)} as {self.quoted(column.name)}"
            for column in data_columns(self.table)
        )
        self.execute(
            f"{self.temporary.format('merged')} select old_row, {values} from changing"
            f" join {self.arriving} as new on new.{self.row} = new_row"
            f" join {self.stored} as old on old.{self.row} = old_row"
        )

    def _insert(self, names: list[str], rows: str, loaded_at: str, expected: int) -> None:
        listed = ", ".join(names)
        # In the order of received_at: then zone maps (DuckDB) and the BRIN index (PostgreSQL) let a
        # run read only the rows of its window.
        order = f" order by {self.quoted(RECEIVED_AT)}" if self.sort else ""
        into = f"{listed}, {self.quoted(LOADED_AT)}" if loaded_at else listed
        values = f"{listed}, {loaded_at}" if loaded_at else listed
        written = self.execute(
            f"insert into {self.stored} ({into}) select {values} from {rows}{order}"
        )
        refuse_missing_rows(self.stored, expected=expected, written=written)

    def _in_range(self) -> str:
        """Return the condition that a stored event is in the time range of the arriving ones.

        The bounds are literals, so that the engine uses zone maps and indexes.
        """
        if self.table.kind != "event" or not self.table.is_received:
            return "true"
        received = self.quoted(RECEIVED_AT)
        first, last = self.fetch(
            f"select cast(min({received}) as varchar), cast(max({received}) as varchar)"
            f" from {self.arriving}"
        )
        if first is None:
            return "false"
        return f"old.{received} between {literal(first)} and {literal(last)}"

    def _keys(self) -> str:
        return " and ".join(
            f"new.{self.quoted(name)} = old.{self.quoted(name)}{self.collations.get(name, '')}"
            for name in self.table.key
        )

    def _is_same_event(self) -> str:
        """Return the condition that an arriving and a stored row with equal keys are one event."""
        bits = omitted_bits(self.table)
        conditions = []
        for column in data_columns(self.table):
            new, old = f"new.{self.quoted(column.name)}", f"old.{self.quoted(column.name)}"
            equal = f"{new} is not distinct from {old}"
            if column.name in bits:
                known_new, known_old = self._is_known(column, new), self._is_known(column, old)
                equal = (
                    f"({equal} or ({old} is null and {known_new}) or ({new} is null and"
                    f" ({known_old} or {self._is_omitted(bits[column.name])})))"
                )
            if column.name not in self.table.key:
                conditions.append(equal)
        return " and ".join(conditions) or "true"

    def _fills(self) -> str:
        """Return the condition that an arriving event has a value for a null of the stored row."""
        return self._any(
            f"(old.{self.quoted(c.name)} is null and"
            f" {self._is_known(c, f'new.{self.quoted(c.name)}')})"
            for c in data_columns(self.table)
            if c.nullable
        )

    def _replaces(self) -> str:
        """Return the condition that an arriving entity is different and not older."""
        bits = omitted_bits(self.table)
        differs = self._any(
            f"(new.{self.quoted(c.name)} is distinct from old.{self.quoted(c.name)}"
            + (f" and not {self._is_omitted(bits[c.name])})" if c.name in bits else ")")
            for c in data_columns(self.table)
            if c.name not in self.table.key
        )
        if not self.table.is_received:
            return differs
        received = self.quoted(RECEIVED_AT)
        return f"({differs} and coalesce(new.{received} >= old.{received}, true))"

    def _merged(self, column: Column) -> str:
        """Return the value to store where an arriving row changes a stored one."""
        new, old = f"new.{self.quoted(column.name)}", f"old.{self.quoted(column.name)}"
        if self.table.kind == "event":
            return f"coalesce({old}, {new})"
        if column.nullable:
            bit = omitted_bits(self.table)[column.name]
            return f"case when {self._is_omitted(bit)} then {old} else {new} end"
        return new

    @staticmethod
    def _any(conditions: Iterable[str]) -> str:
        return f"({' or '.join(conditions) or 'false'})"

    @staticmethod
    def _is_omitted(bit: int) -> str:
        return f"((new.{identifier(OMITTED)} & {bit}) <> 0)"

    @staticmethod
    def _is_known(column: Column, value: str) -> str:
        known = f"coalesce({value} <> '', false)"  # an empty text fills in no null
        return known if column.type == "text" else f"{value} is not null"


def _cast(value: str, kind: str, to: str) -> str:
    if kind == "boolean" and to.startswith(("smallint", "bigint", "numeric")):
        value = f"cast({value} as integer)"  # PostgreSQL casts a boolean to no other number
    return f"cast({value} as {to})"
