"""One set of raw rows in every engine; each byte of each file as a second reading says."""

from datetime import UTC, date, datetime
from pathlib import Path

import awkward
import reading
import whole

from orchestrator import config, pipeline, project
from orchestrator.jobs import Request
from orchestrator.loading import load_into
from orchestrator.result import Status
from orchestrator.windows import Days

_NOW = datetime(2026, 11, 1, tzinfo=UTC)
_CONFIG = "destinations: {archive: {directory: archive}}\ndefaults: {destination: archive}\n"


def test_every_engine_makes_the_same_bytes(target: str, tmp_path: Path) -> None:
    (tmp_path / "exports.yml").write_text(_CONFIG + whole.EXPORTS, encoding="utf-8")
    tables = awkward.make()
    whole.write_raw(tmp_path / "raw", tables)
    whole.write_replacements(tmp_path / "more", tables)
    held = reading.warehouse(tables, awkward.replacements(tables))
    broken = sum(len(rows) for rows in awkward.broken(tables).values())
    there = project.find(tmp_path, None)
    assert there.target == target
    for folder, rejected in (("raw", broken), ("raw", broken), ("more", 0)):
        loaded = load_into(there, tmp_path / folder, rejected=tmp_path / "rejected", now=_NOW)
        assert loaded.rejected == rejected

    expected: dict[str, bytes] = {}
    days = awkward.DAYS[:2]  # of 23 and of 25 hours
    for day in days[1:] if target == "spark" else days:  # a window takes Spark seconds
        expected |= whole.files_of_day(held, day)
        _run(tmp_path, day)

    archive = tmp_path / "archive"
    found = {path.relative_to(archive).as_posix(): path for path in archive.rglob("*.*")}
    assert sorted(found) == sorted(expected)
    for name, wanted in expected.items():
        whole.same(found[name].read_bytes(), wanted, name)


def _run(folder: Path, day: date) -> None:
    loaded = config.load(folder / "exports.yml")
    there = project.find(folder, None)
    request = Request(days=Days(day, day), daily_only=True)
    result = pipeline.run(loaded, there, request, now=_NOW, progress=lambda _: None)
    assert result.windows
    assert {window.status for window in result.windows} == {Status.DELIVERED}
