"""Find the raw files by their names, and check their columns against the raw contract."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import UsageError, did_you_mean
from orchestrator.loading.scanning import csv_header
from orchestrator.warehouse.contract import Contract, Table
from orchestrator.warehouse.merging import LOADED_AT, data_columns

_log = logging.getLogger(__name__)

_FORMATS = (".parquet", ".csv", ".jsonl")
_MOST_SHOWN = 10  # names in one message


@dataclass(frozen=True)
class RawFile:
    """One file of a raw table."""

    path: Path
    label: str
    """The path below the loaded folder, as reject files show it."""
    header: tuple[str, ...]
    """The names of its columns; empty for JSON Lines, where each line names its own."""

    @property
    def format(self) -> str:
        """Return `parquet`, `csv` or `jsonl`."""
        return _format(self.path)


def find(
    folder: Path, contract: Contract, *, rejected: Path
) -> list[tuple[Table, tuple[RawFile, ...]]]:
    """Return the raw files in `folder` by table, entities before events.

    The folder `rejected`, where reject files are written, is skipped. So are names that begin with
    `_` or `.`, as in Hadoop. Raises UsageError that names the file if a name is not the name of a
    raw table, or if a header does not fit; all names are checked before the first header.
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
            hint = _nearest(path.stem, names)
            raise UsageError(
                f"{path} is not named after a raw table.{hint and f' Did you mean {hint}?'}"
                f" The raw tables are {', '.join(sorted(names))}."
            )
        if paths:
            found.setdefault(name, []).extend(paths)
        elif path.is_file() and path.name.split(".")[0] in names:
            _log.warning("%s is skipped: load reads only %s.", path, ", ".join(_FORMATS))
    expected = f"expected <table>.parquet, .csv or .jsonl for any of {', '.join(sorted(names))}"
    if not visible:
        _log.warning("%s is empty and nothing is loaded: %s", folder, expected)
    elif not found:
        raise UsageError(f"{folder} contains no raw files: {expected}.")
    ordered = sorted(contract.tables, key=lambda table: table.kind != "entity")
    return [
        (table, tuple(_raw_file(path, folder, table) for path in found[table.name]))
        for table in ordered
        if table.name in found
    ]


def check_columns(path: Path, table: Table, names: Sequence[str]) -> None:
    """Raise UsageError if a required column is missing; log a warning about unknown columns.

    In a file without a header the first row is read as names, which may then be personal data. So
    messages show a name only if it looks like the name of a column.
    """
    columns = data_columns(table)
    known = [column.name for column in columns]
    unknown = [name for name in names if name and name not in known]
    missing = [column.name for column in columns if column.name not in names]
    required = [c.name for c in columns if not c.nullable and c.name in missing]
    # A misspelled nullable column, such as isTest, is an error and not just unknown: if it were
    # ignored, events of test mailings would be exported.
    spellings = {_normalized(name): name for name in missing}
    misspelled = [
        f"{_displayed(name)!r} meant as {spellings[_normalized(name)]}"
        for name in unknown
        if _normalized(name) in spellings
    ]
    if required:
        similar = [
            f"{_displayed(name)!r} meant as {nearest}"
            for name in unknown
            if (nearest := _nearest(name, required))
        ]
        raise UsageError(
            f"{path}: required columns of {table.name} are missing: {', '.join(required)}."
            f"{_questions(misspelled or similar)}{_delimiter_hint(names)}"
        )
    if misspelled:
        raise UsageError(
            f"{path}: {table.name} has no such columns.{_questions(misspelled)} Rename them."
        )
    if LOADED_AT in unknown:
        unknown.remove(LOADED_AT)
        _log.warning("%s: column %s is ignored: load fills it itself", path, LOADED_AT)
    if unknown:
        shown = [_displayed(name) for name in unknown[:_MOST_SHOWN]]
        more = f" and {len(unknown) - len(shown)} more" if len(unknown) > len(shown) else ""
        _log.warning(
            "%s: columns that %s does not have are ignored: %s%s",
            *(path, table.name, ", ".join(shown), more),
        )


def _normalized(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def _displayed(name: str) -> str:
    return name if re.fullmatch("[A-Za-z_][A-Za-z_ -]*", name.strip()) else "(not shown)"


def _nearest(name: str, valid: Sequence[str]) -> str:
    return did_you_mean(name, valid).removeprefix("; did you mean ").removesuffix("?")


def _questions(guesses: Sequence[str]) -> str:
    return "".join(f" Is {guess}?" for guess in guesses[:_MOST_SHOWN])


def _delimiter_hint(names: Sequence[str]) -> str:
    """Return a hint if a CSV file is not separated by commas, as RFC 4180 demands, else ""."""
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
            raise UsageError(
                f"{child}: put the files of a raw table directly into its folder, not into a"
                " subfolder."
            )
    return [child for child in inside if not child.is_dir() and _data_files(child)]


def _raw_file(path: Path, folder: Path, table: Table) -> RawFile:
    try:
        if path.exists() and not path.is_file():  # opening a pipe would block until somebody writes
            raise UsageError(
                f"{path} is not a regular file: load reads a file more than once, so a pipe"
                " does not work."
            )
        header = _header(path, table)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    return RawFile(path, path.relative_to(folder).as_posix(), header)


def _header(path: Path, table: Table) -> tuple[str, ...]:
    if _format(path) == "jsonl":
        path.open("rb").close()  # raises OSError now if the file is unreadable
        return ()
    names = _parquet_header(path) if _format(path) == "parquet" else csv_header(path)
    check_columns(path, table, names)
    counts = Counter(name.lower() for name in names if name)
    if repeated := [_displayed(name) for name, count in counts.items() if count > 1]:
        raise UsageError(f"{path}: column named more than once: {', '.join(repeated)}.")
    return names


def _parquet_header(path: Path) -> tuple[str, ...]:
    try:
        return tuple(pq.read_schema(path).names)
    except pa.ArrowException as error:
        raise UsageError(f"{path} is not a complete Parquet file: export it again.") from error
