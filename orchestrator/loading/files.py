"""Raw files: found by their names, their columns checked against the contract."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import UsageError
from orchestrator.loading.lines import csv_header
from orchestrator.warehouse.contract import Contract, Table

_log = logging.getLogger(__name__)

_FORMATS = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True)
class RawFile:
    """One file of a raw table: where it is, its path as reject files show it, and its columns."""

    path: Path
    label: str
    header: tuple[str, ...]  # empty for JSON Lines, each of whose lines names its own

    @property
    def format(self) -> str:
        """Return `parquet`, `csv` or `jsonl`."""
        return _format(self.path)


def find(
    folder: Path, contract: Contract, *, rejected: Path
) -> list[tuple[Table, tuple[RawFile, ...]]]:
    """Return the raw files in `folder` by table, entities first; the folder `rejected` is no table.

    As Hadoop does, `_x` and `.x` are passed over. Raises UsageError that names the file where a
    name is no raw table's, or a header does not fit: all names first, then all headers.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: name the folder that holds the raw files.")
    names = [table.name for table in contract.tables]
    found: dict[str, list[Path]] = {}
    for path in _visible(folder):
        if path.resolve() == rejected.resolve():
            continue
        paths = _data_files(path)
        name = path.name if path.is_dir() else path.stem
        if paths and name not in names:
            raise UsageError(
                f"{path} belongs to no raw table.{_did_you_mean(path.stem, names)}"
                f" The raw tables are {', '.join(sorted(names))}.",
            )
        if paths:
            found.setdefault(name, []).extend(paths)
        elif path.is_file() and path.name.split(".")[0] in names:
            _log.warning("%s is not read: load reads %s.", path, ", ".join(_FORMATS))
    if not found:
        raise UsageError(
            f"{folder} holds no raw files: expected <table>.parquet, .csv or .jsonl"
            f" for any of {', '.join(sorted(names))}.",
        )
    ordered = sorted(contract.tables, key=lambda table: table.kind != "entity")
    return [
        (table, tuple(_raw_file(path, folder, table) for path in found[table.name]))
        for table in ordered
        if table.name in found
    ]


def check_columns(path: Path, table: Table, names: Sequence[str]) -> None:
    """Raise UsageError where a needed column is missing; warn of columns that are unknown.

    Where the first line is no header but a row, its names are values: only plain words are told.
    """
    known = [column.name for column in table.columns]
    unknown = [name for name in names if name not in known]
    extra = [name if re.fullmatch("[A-Za-z_]+", name) else "(not shown)" for name in unknown]
    needed = [column.name for column in table.columns if not column.nullable]
    missing = [name for name in needed if name not in names]
    if missing:
        hints = [(name, get_close_matches(name, extra, n=1)) for name in missing]
        near = "".join(f" Is {hint[0]!r} meant as {name}?" for name, hint in hints if hint)
        raise UsageError(
            f"{path}: column missing that {table.name} needs: {', '.join(missing)}.{near}",
        )
    if extra:
        _log.warning(
            "%s: columns unknown to %s are ignored: %s", path, table.name, ", ".join(extra)
        )


def _format(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")


def _visible(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "_"))]


def _data_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path] if path.suffix.lower() in _FORMATS else []
    inside = _visible(path)
    for child in inside:
        if child.is_dir() and any(_data_files(child)):
            raise UsageError(f"{child}: files of a raw table lie in its folder, not deeper.")
    return [child for child in inside if not child.is_dir() and _data_files(child)]


def _did_you_mean(name: str, names: list[str]) -> str:
    near = get_close_matches(name.lower(), names, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _raw_file(path: Path, folder: Path, table: Table) -> RawFile:
    try:
        header = _header(path, table)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    return RawFile(path, path.relative_to(folder).as_posix(), header)


def _header(path: Path, table: Table) -> tuple[str, ...]:
    if _format(path) == "jsonl":
        path.open("rb").close()
        return ()
    names = _parquet_header(path, table) if _format(path) == "parquet" else csv_header(path)
    check_columns(path, table, names)
    repeated = [name for name, count in Counter(map(str.lower, names)).items() if count > 1]
    if repeated:
        raise UsageError(f"{path}: column named more than once: {', '.join(repeated)}.")
    return names


def _parquet_header(path: Path, table: Table) -> tuple[str, ...]:
    try:
        schema = pq.read_schema(path)
    except pa.ArrowException as error:
        raise UsageError(f"{path} is no whole Parquet file: write it again.") from error
    texts = {column.name for column in table.columns if column.type == "text"}
    for field in schema:
        kind = field.type
        if field.name in texts and (pa.types.is_floating(kind) or pa.types.is_nested(kind)):
            # 12345678901234567 would come out as 1.2345678901234568e16.
            raise UsageError(f"{path}: column {field.name} is {kind}: write it as text.")
    return tuple(schema.names)
