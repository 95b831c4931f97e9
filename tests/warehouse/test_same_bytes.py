"""The same raw rows on every engine give the files of the reference, byte for byte."""

import csv
import hashlib
import json
import subprocess
from collections.abc import Sequence
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import awkward_rows
import pytest
import reference_export
import reference_files
import yaml
from spark_workspace import fill

from orchestrator import config
from orchestrator.config.dialect import Compression
from orchestrator.files.packing import PackedFile
from orchestrator.jobs import Request
from orchestrator.loading import load_into
from orchestrator.pipeline import Status, run
from orchestrator.warehouse import project
from orchestrator.windows import Days

_NOW = datetime(2026, 11, 1, tzinfo=UTC)
_PACKED: dict[str, tuple[Compression, str]] = {
    "BRANDNAAM": ("gzip", "both"),
    "OTHER": ("zip", "ready"),
    "Himal": ("zstd", "manifest"),
}
"""Compression and completion by brand; encrypted files differ each time."""
_SUFFIXES = {"gzip": ".gz", "zip": ".zip", "zstd": ".zst"}
_UNPACK = {
    "gzip": ["gzip", "--decompress", "--stdout"],
    "zip": ["unzip", "-p"],
    "zstd": ["zstd", "--decompress", "--stdout", "--quiet"],
}


def test_every_engine_gives_the_same_bytes(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Days of 23 and of 25 hours; on Spark a window takes seconds.
    days = awkward_rows.DAYS[:1] if target == "spark" else awkward_rows.DAYS[:2]
    _assert_same_bytes(target, tmp_path, days, monkeypatch)


@pytest.mark.faults
@pytest.mark.parametrize("target", ["spark"], indirect=True)
def test_spark_gives_the_same_bytes_for_each_day(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _assert_same_bytes(target, tmp_path, awkward_rows.DAYS, monkeypatch)


def _assert_same_bytes(
    target: str, tmp_path: Path, days: Sequence[date], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "exports.yml").write_text(_config(), encoding="utf-8")
    tables = awkward_rows.raw_tables()
    reference_files.write_raw(tmp_path / "raw", tables)
    reference_files.write_replacements(tmp_path / "more", tables)
    stored = reference_export.warehouse(tables, awkward_rows.replacements(tables))
    broken = sum(len(rows) for rows in awkward_rows.broken(tables).values())
    dbt = project.find(tmp_path, None)
    assert dbt.target == target
    warehouse = tmp_path / "warehouse.duckdb"
    if target == "spark":  # `load` does not write there
        monkeypatch.setenv("DUCKDB_PATH", str(warehouse))
        dbt = project.find(tmp_path, "duckdb")
    for folder, rejected in (("raw", broken), ("raw", broken), ("more", 0)):
        loaded = load_into(dbt, tmp_path / folder, rejected=tmp_path / "rejected", now=_NOW)
        assert loaded.rejected == rejected
    if target == "spark":
        fill(project.find(tmp_path, None), warehouse)

    expected: dict[str, bytes] = {}
    for day in days:
        expected |= reference_files.files_of_day(stored, day)
        _run(tmp_path, day)

    archive = tmp_path / "archive"
    found = {path.relative_to(archive).as_posix(): path for path in archive.rglob("*.*")}
    for name, wanted in expected.items():
        brand = name.split("_")[-2].rpartition("/")[2]
        if brand in _PACKED:
            _assert_same_packed(found, name, wanted, brand)
        else:
            reference_files.assert_same_bytes(found.pop(name).read_bytes(), wanted, name)
    assert found == {}


def _config() -> str:
    exports = yaml.safe_load(reference_files.EXPORTS)["exports"]
    for export in exports:
        if export["brand"] in _PACKED:
            export["compression"], export["completion"] = _PACKED[export["brand"]]
    archive = {"archive": {"directory": "archive"}}
    return yaml.safe_dump({"destinations": archive, "exports": exports}, allow_unicode=True)


def _assert_same_packed(found: dict[str, Path], name: str, wanted: bytes, brand: str) -> None:
    """Check a compressed file and its completion files, and remove them from `found`."""
    compression, completion = _PACKED[brand]
    path = found.pop(name + _SUFFIXES[compression])
    unpacked = subprocess.run([*_UNPACK[compression], path], capture_output=True, check=True)
    reference_files.assert_same_bytes(unpacked.stdout, wanted, name)
    # Compression does not depend on the parts in which an engine returned the rows.
    again = PackedFile(path.parent / Path(name).name, compression)
    again.write(wanted)
    size, sha256 = again.finish()
    again.wait()
    again.path.unlink()
    packed = path.read_bytes()
    assert (len(packed), hashlib.sha256(packed).hexdigest()) == (size, sha256)
    if completion in ("ready", "both"):
        ready = found.pop(f"{name}{_SUFFIXES[compression]}.ready")
        assert ready.read_text(encoding="utf-8") == f"{sha256}  {path.name}\n"
    if completion in ("manifest", "both"):
        if "activity_" in name:
            found.pop(f"{name}{_SUFFIXES[compression]}.manifest.json")
        manifest = next(
            path.parent.glob(f"activity{path.name[path.name.index('_') :]}.manifest.json")
        )
        described: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        (file,) = [each for each in described["resources"] if each["path"] == path.name]
        dialect = reference_files.DIALECTS[brand]
        lines = StringIO(wanted.decode(dialect.encoding), newline="")
        rows = len(list(csv.reader(lines, delimiter=dialect.delimiter))) - dialect.header
        assert (file["bytes"], file["hash"]) == (size, f"sha256:{sha256}")
        assert described["rows"][file["name"]] == rows


def _run(folder: Path, day: date) -> None:
    loaded = config.read(folder / "exports.yml")
    dbt = project.find(folder, None)
    request = Request(days=Days(day, day), daily_only=True)
    result = run.run(loaded, dbt, request, now=_NOW)
    assert result.windows
    assert {window.status for window in result.windows} == {Status.DELIVERED}
    assert not [warning for warning in result.warnings if "late rows" in warning]
