"""How rows that arrive are merged into a raw table: the same SQL on DuckDB and PostgreSQL.

An arriving row either is new, or changes a stored row, or is present already. "Present" makes it
safe to load a file twice.

- **Events** are receipts that never change. An arriving row is a stored receipt if its key and all
  columns that may not be null are equal, and each nullable column is equal or unknown on one side.
  Unknown is a column that the file lacks, or a null. A value that the stored row does not know
  yet is filled in, so a column that was added to the raw contract reaches the rows that are stored
  already when their file is loaded again. (A null and an empty text differ: a platform that
  reports an empty text knows it.)
- **Entities** have one row a key. An arriving row replaces the stored one unless it is older by
  `received_at`, in tables that have that column. A column that the file lacks keeps its value.

`loaded_at` is the moment at which a row reached the table. It takes no part in the comparison: a
stored row that is filled in keeps it, so it does not look like a late row; a row that replaces an
entity gets the new moment.
"""

# ruff: noqa: S608 -- names come from the checked contract, types from the database
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from orchestrator.errors import ExportError, UsageError
from orchestrator.warehouse import Loaded
from orchestrator.warehouse.contract import RECEIVED, Column, Table
from orchestrator.warehouse.sql import identifier, literal

LOADED = "loaded_at"
LACKS = "(lacks)"
"""The column of arriving rows that has a bit for each nullable column that their file lacks.

Its name cannot be that of a column of the contract.
"""
_CAST = "incoming"
_MOST_NULLABLE = 63  # bits of a bigint


def data_columns(table: Table) -> list[Column]:
    """Return the columns of a table that files fill: all of them but `loaded_at`."""
    return [column for column in table.columns if column.name != LOADED]


def lack_bits(table: Table) -> dict[str, int]:
    """Return the bit of each nullable column in LACKS. Raises UsageError if there are too many."""
    names = [column.name for column in data_columns(table) if column.nullable]
    if len(names) > _MOST_NULLABLE:
        raise UsageError(
            f"{table.name}: {len(names)} columns may be null; load takes {_MOST_NULLABLE} at most"
        )
    return {name: 1 << place for place, name in enumerate(names)}


@dataclass(frozen=True)
class Merge:
    """The merge of arriving rows into one raw table, all within the caller's transaction.

    `stored` and `arriving` are the relations. `types` are the types of the stored columns, by name
    in lower case, and `usual` those that arriving columns have, by type of the contract.

    How the engine writes SQL: `row` names the hidden column with a row's place (rowid, ctid),
    `temporary` begins a statement that creates a temporary table from a query, `quoted` quotes
    the name of a column.
    """

    table: Table
    stored: str
    arriving: str
    types: Mapping[str, str]
    usual: Mapping[str, str]
    row: str
    temporary: str
    quoted: Callable[[str], str]
    execute: Callable[[str], int]
    """Runs a statement and returns how many rows it wrote."""
    fetch: Callable[[str], tuple[Any, ...]]
    """Returns the first row of a query."""

    def find(self) -> "Merge":
        """Compare the arriving rows with the stored ones; return the merge to write.

        Creates the temporary tables `matched` (place of an arriving row, place `held` of a stored
        row of the same key, and whether it `changes` that), `replacing` (of those, one stored row
        for each arriving row that changes one) and `settled` (arriving rows that are not new).
        """
        columns = data_columns(self.table)
        types = {column.name: self.types[column.name.lower()] for column in columns}
        is_usual = all(types[column.name] == self.usual[column.type] for column in columns)
        if not is_usual and self.arriving != _CAST:
            # Compared as the warehouse stores them: a moment may be cut to seconds there.
            values = ", ".join(
                f"{_cast(self.quoted(c.name), c.type, types[c.name])} as {self.quoted(c.name)}"
                for c in columns
            )
            rows = f"select {values}, {identifier(LACKS)} from {self.arriving}"
            self.execute(f"{self.temporary.format(_CAST)} {rows}")
            return replace(self, arriving=_CAST).find()
        self._match()
        return self

    def write(self, now: datetime) -> Loaded:
        """Write to the stored table. Raises ExportError if it does not take every row."""
        arriving, settled, replaced = self.fetch(
            f"select (select count(*) from {self.arriving}), (select count(*) from settled),"
            " (select count(*) from replacing)"
        )
        names = [self.quoted(column.name) for column in data_columns(self.table)]
        moment = ""
        if LOADED in self.types and any(c.name == LOADED for c in self.table.columns):
            moment = f"cast(timestamptz {literal(now.isoformat())} as {self.types[LOADED]})"
        if self.table.kind == "entity":
            # Every stored row of the key, as other programs may have written two.
            self.execute(
                f"delete from {self.stored} as old using matched"
                f" where old.{self.row} = matched.held and exists"
                " (select 1 from replacing where replacing.place = matched.place)"
            )
            self._insert(names, "merged", moment, replaced)
        elif replaced:
            # An update keeps the columns that the raw contract does not have.
            filled = ", ".join(
                f"{self.quoted(name)} = merged.{self.quoted(name)}"
                for name in lack_bits(self.table)
            )
            self.execute(
                f"update {self.stored} as old set {filled} from merged"
                f" where old.{self.row} = merged.held"
            )
        fresh = (
            f"(select * from {self.arriving} as new where not exists"
            f" (select 1 from settled where settled.place = new.{self.row})) as fresh"
        )
        self._insert(names, fresh if settled else self.arriving, moment, arriving - settled)
        return Loaded(added=arriving - settled, replaced=replaced, present=settled - replaced)

    def _match(self) -> None:
        """Create `matched`, `replacing`, `settled` and `merged`."""
        old_and_new = f"from {self.arriving} as new join {self.stored} as old on {self._keys()}"
        if self.table.kind == "event":
            matched = f"{self._fills()} as changes {old_and_new} and {self._alike()}"
        else:
            matched = f"{self._differs()} as changes {old_and_new}"
        self.execute(
            f"{self.temporary.format('matched')} select new.{self.row} as place,"
            f" old.{self.row} as held, {matched} and {self._in_range()}"
        )
        # An arriving event that equals a stored one changes no other. Each stored row is changed
        # once: of two receipts that both fill one, the second is new.
        self.execute(
            f"{self.temporary.format('replacing')} select min(place) as place, held from"
            " (select place, min(held) as held from matched group by place"
            " having bool_and(changes)) as chosen group by held"
        )
        self.execute(
            f"{self.temporary.format('settled')} select place from matched where not changes"
            " union select place from replacing"
        )
        values = ", ".join(
            f"{self._merged(column)} as {self.quoted(column.name)}"
            for column in data_columns(self.table)
        )
        self.execute(
            f"{self.temporary.format('merged')} select held, {values} from replacing"
            f" join {self.arriving} as new on new.{self.row} = place"
            f" join {self.stored} as old on old.{self.row} = held"
        )

    def _insert(self, names: list[str], rows: str, moment: str, expected: int) -> None:
        listed = ", ".join(names)
        # In order of arrival, so that zone maps (DuckDB) and the BRIN index (PostgreSQL) of
        # received_at narrow the read of a window.
        order = f" order by {self.quoted(RECEIVED)}" if self.table.is_received else ""
        into = f"{listed}, {self.quoted(LOADED)}" if moment else listed
        written = self.execute(
            f"insert into {self.stored} ({into}) select {listed}{f', {moment}' if moment else ''}"
            f" from {rows}{order}"
        )
        if written != expected:
            raise ExportError(
                f"{self.stored}: {expected - written} of {expected} rows did not reach the table"
                " (a trigger or a rule?); none were loaded"
            )

    def _in_range(self) -> str:
        """Return the condition that limits stored events to the moments of the arriving ones.

        As literals, so that zone maps and indexes are used.
        """
        if self.table.kind != "event" or not self.table.is_received:
            return "true"
        received = self.quoted(RECEIVED)
        first, last = self.fetch(
            f"select cast(min({received}) as varchar), cast(max({received}) as varchar)"
            f" from {self.arriving}"
        )
        if first is None:
            return "false"
        return f"old.{received} between {literal(first)} and {literal(last)}"

    def _keys(self) -> str:
        return " and ".join(
            f"new.{self.quoted(name)} = old.{self.quoted(name)}" for name in self.table.key
        )

    def _alike(self) -> str:
        """Return the condition that an arriving event is the receipt that is stored."""
        bits = lack_bits(self.table)
        conditions = []
        for column in data_columns(self.table):
            new, old = f"new.{self.quoted(column.name)}", f"old.{self.quoted(column.name)}"
            equal = f"{new} is not distinct from {old}"
            if column.name in bits:
                known_new, known_old = self._is_known(column, new), self._is_known(column, old)
                equal = (
                    f"({equal} or ({old} is null and {known_new}) or ({new} is null and"
                    f" ({known_old} or {self._lacks(bits[column.name])})))"
                )
            if column.name not in self.table.key:
                conditions.append(equal)
        return " and ".join(conditions) or "true"

    def _fills(self) -> str:
        return self._any(
            f"(old.{self.quoted(c.name)} is null and"
            f" {self._is_known(c, f'new.{self.quoted(c.name)}')})"
            for c in data_columns(self.table)
            if c.nullable
        )

    def _differs(self) -> str:
        """Return the condition that an arriving entity changes the stored one."""
        bits = lack_bits(self.table)
        differs = self._any(
            f"(new.{self.quoted(c.name)} is distinct from old.{self.quoted(c.name)}"
            + (f" and not {self._lacks(bits[c.name])})" if c.name in bits else ")")
            for c in data_columns(self.table)
            if c.name not in self.table.key
        )
        if not self.table.is_received:
            return differs
        received = self.quoted(RECEIVED)
        return f"({differs} and coalesce(new.{received} >= old.{received}, true))"

    def _merged(self, column: Column) -> str:
        new, old = f"new.{self.quoted(column.name)}", f"old.{self.quoted(column.name)}"
        if self.table.kind == "event":
            return f"coalesce({old}, {new})"
        if column.nullable:
            bit = lack_bits(self.table)[column.name]
            return f"case when {self._lacks(bit)} then {old} else {new} end"
        return new

    @staticmethod
    def _any(conditions: Iterable[str]) -> str:
        return f"({' or '.join(conditions) or 'false'})"

    @staticmethod
    def _lacks(bit: int) -> str:
        return f"((new.{identifier(LACKS)} & {bit}) <> 0)"

    @staticmethod
    def _is_known(column: Column, value: str) -> str:
        known = f"coalesce({value} <> '', false)"  # an empty text says no more than a null
        return known if column.type == "text" else f"{value} is not null"


def _cast(value: str, kind: str, to: str) -> str:
    if kind == "boolean" and to.startswith(("smallint", "bigint", "numeric")):
        value = f"cast({value} as integer)"  # PostgreSQL casts a boolean to no other number
    return f"cast({value} as {to})"
