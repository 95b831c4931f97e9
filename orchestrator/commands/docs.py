"""Documentation: dbt's own pages, and the lineage of every column, as files that open from disk."""

import json
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path

from orchestrator.commands import lineage
from orchestrator.commands.lineage import Lineage
from orchestrator.warehouse import open_engine
from orchestrator.warehouse.dbt import Dbt
from orchestrator.warehouse.project import Project

_D3 = "d3-7.9.2.min.js"


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
                "columns": [{"name": k, "description": v} for k, v in table.columns.items()],
            }
            for table in found.tables
        ],
        "edges": sorted(
            [parent.table, parent.name, column.table, column.name]
            for column, parents in found.parents.items()
            for parent in parents
        ),
    }
    assets = files("orchestrator") / "assets"
    page = (assets / "lineage.html").read_text(encoding="utf-8")
    script = json.dumps(data).replace("<", "\\u003c")  # no end of the script within a text
    page = page.replace("/*data*/", script)
    return page.replace("/*d3*/", (assets / _D3).read_text(encoding="utf-8"))
