"""Documentation: dbt's own pages, and the lineage of every column, as files that open from disk."""

import json
import shutil
import tempfile
from pathlib import Path

from markupsafe import Markup

from orchestrator.commands import asset, lineage, template
from orchestrator.commands.lineage import Lineage
from orchestrator.warehouse import open_engine
from orchestrator.warehouse.dbt import Dbt
from orchestrator.warehouse.project import Project

_SCRIPTS = ("d3-7.9.2.min.js", "lineage.js")


def write(project: Project, folder: Path) -> Path:
    """Write `index.html`, the lineage, and `dbt.html`, dbt's own pages; return the first.

    Raises UsageError or ExportError where dbt or the warehouse is not to be used, or the SQL of a
    model cannot be followed.
    """
    with tempfile.TemporaryDirectory() as work:
        engine = open_engine(project, Path(work))
        engine.open()
        try:
            dbt = Dbt(
                project,
                Path(work),
                Path(work) / "target",
                output=engine.dbt_output,
                variables=engine.dbt_variables,
            )
            made = dbt.document()
            manifest, catalog = (
                json.loads((made / f"{name}.json").read_text(encoding="utf-8"))
                for name in ("manifest", "catalog")
            )
            page = _page(lineage.read(manifest, catalog))
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made / "static_index.html", folder / "dbt.html")
        finally:
            engine.close()
    index = folder / "index.html"
    index.write_text(page, encoding="utf-8")
    return index


def _page(found: Lineage) -> str:
    data = {
        "tables": [
            {
                "id": table.id,
                "name": table.name,
                "layer": table.layer,
                "description": table.description,
                "columns": [
                    {
                        "name": name,
                        "description": text,
                        "type": table.types.get(name, ""),
                        "additional": name in table.additional,
                    }
                    for name, text in table.columns.items()
                ],
            }
            for table in found.tables
        ],
        "edges": sorted(
            [parent.table, parent.name, column.table, column.name]
            for column, parents in found.parents.items()
            for parent in parents
        ),
    }
    scripts = [Markup(asset(name)) for name in _SCRIPTS]  # noqa: S704 - our own and the libraries'
    return template("lineage.html").render(data=data, scripts=scripts)
