"""Files from PostgreSQL without dbt: read the rows that it made, and write both files of a brand.

Usage: python bench/reading.py FOLDER STEPS. The rows are in the schema `made` of the database that
libpq's variables name. STEPS gets the seconds of dbt's import, which the engine needs to connect.
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


def _file_format(there: Project, loaded: config.Config, kind: Kind) -> FileFormat:
    text = (there.folder / f"models/exports/{VIEWS[kind]}.yml").read_text(encoding="utf-8")
    columns = []
    for column in yaml.safe_load(text)["models"][0]["columns"]:
        meta = column.get("config", {}).get("meta", {})
        labels, values = meta.get("labels", {}), meta.get("value_labels", {})
        columns.append(ViewColumn(column["name"], labels, values))
    return formats.resolve(loaded, loaded.exports[0], kind, {kind: columns})


def main(folder: Path, steps: Path) -> None:
    """Write them."""
    clock = Clock()
    with clock.running():
        from orchestrator.warehouse.dbt import Dbt  # noqa: F401, PLC0415 - its import is timed
    clock.note(steps)
    there = project.find(folder, "postgres")
    loaded = config.read(folder / "exports.yml")
    work = folder / "work"
    work.mkdir(exist_ok=True)
    engine = open_engine(there, work)
    engine.open()
    try:
        relations = {view: f"made.{view}" for view in VIEWS.values()}
        forms = {kind: _file_format(there, loaded, kind) for kind in KINDS}
        columns = {VIEWS[kind]: form.columns() for kind, form in forms.items()}
        stage = engine.read(relations, "made.brands", columns)
        for kind, form in forms.items():
            for brand in stage.brands:
                print(kind, writing.write(stage, form, {brand: (folder / kind, kind)})[brand])
    finally:
        engine.close()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
