"""The raw contract: which raw tables there are, and what their columns may hold.

Its one source of truth is the dbt project's `models/staging/_sources.yml`: a column that is
added there is loaded, with no Python touched.
"""

import re
from collections.abc import Container
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml

from orchestrator.errors import UsageError

ColumnType = Literal["text", "timestamp", "boolean"]
TableKind = Literal["event", "entity"]

SOURCES = Path("models/staging/_sources.yml")
RECEIVED = "received_at"  # when a row came in, in the tables that tell

_SOURCE = "raw"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Column:
    """One raw column, and what its values may be."""

    name: str
    type: ColumnType
    nullable: bool = False
    accepted_values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """One raw table. Of an entity the newest row counts; an event is never changed."""

    name: str
    kind: TableKind
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def is_received(self) -> bool:
        """Tell whether its rows say when they came in."""
        return any(column.name == RECEIVED for column in self.columns)

    def lacking(self, existing: Container[str], *, where: str) -> list[Column]:
        """Return the columns to add to `where`, which has the `existing` ones, in lower case.

        Raises UsageError where one of them may not be null.
        """
        lacking = [column for column in self.columns if column.name.lower() not in existing]
        if needed := [column.name for column in lacking if not column.nullable]:
            raise UsageError(
                f"{where} lacks {', '.join(needed)}, which may not be null: add and fill it in the"
                " warehouse, or mark it nullable in the raw contract.",
            )
        return lacking


@dataclass(frozen=True)
class Contract:
    """Every raw table, in the order of the file."""

    tables: tuple[Table, ...]


def read_contract(project_dir: Path) -> Contract:
    """Read the raw contract of the dbt project in `project_dir`.

    Raises UsageError naming the file and the table and column that are wrong.
    """
    path = project_dir / SOURCES
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist: is this the dbt project's folder?") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read as YAML: {error}") from error
    sources = _entries(document, "sources", where=f"{path}")
    found = [source for source in sources if source.get("name") == _SOURCE]
    if len(found) != 1:
        raise UsageError(f"{path}: expected one source named '{_SOURCE}', found {len(found)}.")
    entries = _entries(found[0], "tables", where=f"{path}: source {_SOURCE}")
    tables = tuple(_table(entry, where=f"{path}: source {_SOURCE}") for entry in entries)
    _refuse_repeats([table.name for table in tables], where=f"{path}: source {_SOURCE}: tables")
    return Contract(tables)


def _table(entry: dict[str, Any], *, where: str) -> Table:
    name = _name(entry, where=f"{where}: tables")
    where = f"{where}: table {name}"
    meta = _meta(entry, known={"kind", "key"}, where=where)
    if meta.get("kind") not in get_args(TableKind):
        raise UsageError(
            f"{where}: config.meta.kind must be one of {', '.join(get_args(TableKind))}."
        )
    columns = tuple(
        _column(column, where=where) for column in _entries(entry, "columns", where=where)
    )
    names = [column.name for column in columns]
    _refuse_repeats(names, where=f"{where}: columns")
    key = meta.get("key")
    if not isinstance(key, list) or not key or not set(key) <= set(names):
        raise UsageError(f"{where}: config.meta.key must list columns of the table.")
    return Table(name=name, kind=cast("TableKind", meta["kind"]), key=tuple(key), columns=columns)


def _column(entry: dict[str, Any], *, where: str) -> Column:
    name = _name(entry, where=f"{where}: columns")
    where = f"{where}: column {name}"
    if entry.get("data_type") not in get_args(ColumnType):
        raise UsageError(f"{where}: data_type must be one of {', '.join(get_args(ColumnType))}.")
    meta = _meta(entry, known={"nullable", "accepted_values"}, where=where)
    nullable = meta.get("nullable", False)
    if not isinstance(nullable, bool):
        raise UsageError(f"{where}: config.meta.nullable must be true or false.")
    accepted = meta.get("accepted_values", [])
    if not isinstance(accepted, list) or not all(isinstance(value, str) for value in accepted):
        raise UsageError(f"{where}: config.meta.accepted_values must be a list of texts.")
    if accepted and entry["data_type"] != "text":
        raise UsageError(f"{where}: config.meta.accepted_values is for columns of type text.")
    return Column(
        name=name,
        type=cast("ColumnType", entry["data_type"]),
        nullable=nullable,
        accepted_values=tuple(accepted),
    )


def _entries(parent: object, key: str, *, where: str) -> list[dict[str, Any]]:
    entries = parent.get(key) if isinstance(parent, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"{where}: '{key}' must be a list with at least one entry.")
    if not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{where}: every entry of '{key}' must be a mapping with a name.")
    return entries


def _name(entry: dict[str, Any], *, where: str) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(
            f"{where}: '{name}' is no name: use letters, digits and underscores.",
        )
    return name


def _meta(entry: dict[str, Any], *, known: set[str], where: str) -> dict[str, Any]:
    config = entry.get("config") or {}
    meta = (config.get("meta") or {}) if isinstance(config, dict) else None
    if not isinstance(meta, dict):
        raise UsageError(f"{where}: config.meta must be a mapping.")
    # Other keys are the team's own (labels, owners …); a slip of the pen in ours is refused.
    for key in set(meta) - known:
        near = get_close_matches(str(key), known, n=1, cutoff=0.8)
        if near:
            raise UsageError(f"{where}: config.meta.{key} is unknown; did you mean {near[0]}?")
    return meta


def _refuse_repeats(names: list[str], *, where: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UsageError(f"{where}: named more than once: {', '.join(repeated)}.")


@dataclass(frozen=True)
class ViewColumn:
    """A column of a view, with the labels that its YAML gives it and its values."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    value_labels: dict[str, dict[str, str]] = field(default_factory=dict)
