"""Files from PostgreSQL without a run of dbt: read rows that dbt built, and write both files.

Usage: python bench/reading.py FOLDER STEPS. The rows are in the schema `built` of the database that
libpq's variables name. The engine imports dbt to connect; the cost of that import is written to
STEPS, because it is subtracted.
"""

import sys
from pathlib import Path

import yaml
from clock import Clock

from orchestrator import config
from orchestrator.config.exports import KINDS, Kind
from orchestrator.files import formats, writing
from orchestrator.files.formats import FileFormat
from orchestrator.warehouse import open_engine, project
from orchestrator.warehouse.contract import ViewColumn
from orchestrator.warehouse.project import Project
from orchestrator.warehouse.stage import VIEWS


def _file_format(found: Project, loaded: config.Config, kind: Kind) -> FileFormat:
    text = (found.folder / f"models/exports/{VIEWS[kind]}.yml").read_text(encoding="utf-8")
    columns = []
    for column in yaml.safe_load(text)["models"][0]["columns"]:
        meta = column.get("config", {}).get("meta", {})
        labels, values = meta.get("labels", {}), meta.get("value_labels", {})
        columns.append(ViewColumn(column["name"], labels, values))
    return formats.resolve(loaded, loaded.exports[0], kind, {kind: columns})


def main(folder: Path, steps: Path) -> None:
    """Write both files of each brand."""
    clock = Clock()
    with clock.running():
        from orchestrator.warehouse.dbt import Dbt  # noqa: F401, PLC0415 - its import is timed
    clock.write(steps)
    found = project.find(folder, "postgres")
    loaded = config.read(folder / "exports.yml")
    work = folder / "work"
    work.mkdir(exist_ok=True)
    engine = open_engine(found, work)
    engine.open()
    try:
        relations = {view: f"built.{view}" for view in VIEWS.values()}
        file_formats = {kind: _file_format(found, loaded, kind) for kind in KINDS}
        columns = {VIEWS[kind]: each.columns() for kind, each in file_formats.items()}
        stage = engine.read(relations, "built.brands", columns)
        for kind, file_format in file_formats.items():
            for brand in stage.brands:
                print(
                    kind, writing.write(stage, file_format, {brand: (folder / kind, kind)})[brand]
                )
    finally:
        engine.close()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
