"""Raw files: found by their names, their columns checked against the contract."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import UsageError, did_you_mean
from orchestrator.loading.records import csv_header
from orchestrator.warehouse.contract import Contract, Table
from orchestrator.warehouse.merging import LOADED, data_columns

_log = logging.getLogger(__name__)

_FORMATS = (".parquet", ".csv", ".jsonl")
_MOST_SHOWN = 10  # names in one message


@dataclass(frozen=True)
class RawFile:
    """One file of a raw table: its path, its path as reject files show it, and its columns."""

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
    """Return the raw files in `folder` by table, entities first. The folder `rejected` is no table.

    As Hadoop does, `_x` and `.x` are passed over. Raises UsageError that names the file if a name
    is not that of a raw table, or a header does not fit: all names first, then all headers.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: name the folder that has the raw files.")
    names = [table.name for table in contract.tables]
    found: dict[str, list[Path]] = {}
    visible = [path for path in _visible(folder) if path.resolve() != rejected.resolve()]
    for path in visible:
        paths = _data_files(path)
        name = path.name if path.is_dir() else path.stem
        if paths and name not in names:
            hint = _near(path.stem, names)
            raise UsageError(
                f"{path} belongs to no raw table.{hint and f' Did you mean {hint}?'}"
                f" The raw tables are {', '.join(sorted(names))}."
            )
        if paths:
            found.setdefault(name, []).extend(paths)
        elif path.is_file() and path.name.split(".")[0] in names:
            _log.warning("%s is not read: load reads %s.", path, ", ".join(_FORMATS))
    expected = f"expected <table>.parquet, .csv or .jsonl for any of {', '.join(sorted(names))}"
    if not visible:
        _log.warning("%s is empty, nothing is loaded: %s", folder, expected)
    elif not found:
        raise UsageError(f"{folder} contains no raw files: {expected}.")
    ordered = sorted(contract.tables, key=lambda table: table.kind != "entity")
    return [
        (table, tuple(_raw_file(path, folder, table) for path in found[table.name]))
        for table in ordered
        if table.name in found
    ]


def check_columns(path: Path, table: Table, names: Sequence[str]) -> None:
    """Raise UsageError if a needed column is missing; warn of columns that are unknown.

    If the first line is a row and not a header, its names are values: only plain words are shown.
    """
    columns = data_columns(table)
    known = [column.name for column in columns]
    unknown = [name for name in names if name and name not in known]
    missing = [column.name for column in columns if column.name not in names]
    needed = [column.name for column in columns if not column.nullable and column.name in missing]
    # Written in another way, such as isTest or E-MAIL: ignored, it would let test mail pass.
    spellings = {_plain(name): name for name in missing}
    meant = [
        f"{_shown(name)!r} meant as {spellings[_plain(name)]}"
        for name in unknown
        if _plain(name) in spellings
    ]
    if needed:
        near = [
            f"{_shown(name)!r} meant as {hit}" for name in unknown if (hit := _near(name, needed))
        ]
        raise UsageError(
            f"{path}: column missing that {table.name} needs: {', '.join(needed)}."
            f"{_questions(meant or near)}{_other_form(names)}"
        )
    if meant:
        raise UsageError(
            f"{path}: columns unknown to {table.name}.{_questions(meant)} Rename them."
        )
    if LOADED in unknown:
        unknown.remove(LOADED)
        _log.warning("%s: %s is ignored: load fills it itself", path, LOADED)
    if unknown:
        shown = [_shown(name) for name in unknown[:_MOST_SHOWN]]
        more = f" and {len(unknown) - len(shown)} more" if len(unknown) > len(shown) else ""
        _log.warning(
            "%s: columns unknown to %s are ignored: %s%s",
            *(path, table.name, ", ".join(shown), more),
        )


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def _shown(name: str) -> str:
    return name if re.fullmatch("[A-Za-z_][A-Za-z_ -]*", name.strip()) else "(not shown)"


def _near(name: str, needed: Sequence[str]) -> str:
    return did_you_mean(name, needed).removeprefix("; did you mean ").removesuffix("?")


def _questions(meant: Sequence[str]) -> str:
    return "".join(f" Is {each}?" for each in meant[:_MOST_SHOWN])


def _other_form(names: Sequence[str]) -> str:
    """Return a hint for a CSV that is not as RFC 4180 has it."""
    first = names[0] if names else ""
    if first.startswith("sep="):
        return " The first line is 'sep=' for a spreadsheet: remove it."
    for separator, shown in ((";", ";"), ("\t", "a tab"), ("|", "|")):
        if len(names) == 1 and separator in first:
            return f" Its fields are separated by {shown}: write commas (RFC 4180)."
    return ""


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


def _raw_file(path: Path, folder: Path, table: Table) -> RawFile:
    try:
        if path.exists() and not path.is_file():  # to open a pipe would wait for its writer
            raise UsageError(f"{path} is not a regular file: load reads each file more than once.")
        header = _header(path, table)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    return RawFile(path, path.relative_to(folder).as_posix(), header)


def _header(path: Path, table: Table) -> tuple[str, ...]:
    if _format(path) == "jsonl":
        path.open("rb").close()
        return ()
    names = _parquet_header(path) if _format(path) == "parquet" else csv_header(path)
    check_columns(path, table, names)
    counts = Counter(name.lower() for name in names if name)
    if repeated := [_shown(name) for name, count in counts.items() if count > 1]:
        raise UsageError(f"{path}: column named more than once: {', '.join(repeated)}.")
    return names


def _parquet_header(path: Path) -> tuple[str, ...]:
    try:
        return tuple(pq.read_schema(path).names)
    except pa.ArrowException as error:
        raise UsageError(f"{path} is not a complete Parquet file: write it again.") from error
