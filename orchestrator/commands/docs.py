"""Documentation: dbt's own pages, and the lineage of every column, as pages that need no server.

The lineage of a column is the columns of other tables that it is computed from. sqlglot reads it
from the SQL that dbt compiled, in the dialect of the engine in use. A column that is used only to
select rows is not part of the lineage.
"""

import json
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from markupsafe import Markup
from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.lineage import Node, lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope

from orchestrator.commands import asset, template
from orchestrator.errors import ExportError
from orchestrator.files.formats import DEFAULT_FIELDS
from orchestrator.progress import Progress, no_progress
from orchestrator.warehouse import open_engine
from orchestrator.warehouse.dbt import Dbt
from orchestrator.warehouse.project import Project

_SCRIPTS = ("d3-7.9.2.min.js", "lineage.js")


@dataclass(frozen=True, order=True)
class LineageColumn:
    """A column of a raw table, a model or a delivered file."""

    table: str
    name: str


@dataclass(frozen=True)
class LineageTable:
    """A table of the lineage page. `columns` has the description of each column.

    `types` has the types of the columns whose type is known. `additional` are the columns that a
    delivered file has only if an export lists them.
    """

    id: str
    name: str
    layer: str
    description: str
    columns: Mapping[str, str]
    types: Mapping[str, str]
    additional: Collection[str] = ()


@dataclass(frozen=True)
class Lineage:
    """All tables, and the columns that each column is computed from; none for a constant."""

    tables: tuple[LineageTable, ...]
    parents: Mapping[LineageColumn, frozenset[LineageColumn]]

    def origins(self, column: LineageColumn) -> set[LineageColumn]:
        """Return the columns at the start of the lineage of this one."""
        parents = self.parents.get(column, frozenset())
        if not parents:
            return {column}
        return {origin for parent in parents for origin in self.origins(parent)}


def write(project: Project, folder: Path, progress: Progress = no_progress) -> Path:
    """Write `index.html`, the lineage, and `dbt.html`, dbt's pages; return the path of the first.

    Raises UsageError or ExportError if dbt or the warehouse fails, or if sqlglot cannot read the
    SQL of a model.
    """
    progress("building the views and writing dbt's pages")
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
            written = dbt.document()
            manifest, catalog = (
                json.loads((written / f"{name}.json").read_text(encoding="utf-8"))
                for name in ("manifest", "catalog")
            )
            progress("reading the lineage of every column")
            page = _page(read_lineage(manifest, catalog))
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(written / "static_index.html", folder / "dbt.html")
        finally:
            engine.close()
    index = folder / "index.html"
    index.write_text(page, encoding="utf-8")
    return index


def read_lineage(manifest: Mapping[str, Any], catalog: Mapping[str, Any]) -> Lineage:
    """Return the lineage, from dbt's manifest.json, with compiled models, and catalog.json.

    A model has the columns that its compiled SQL selects. A raw table has the columns of its YAML
    and those that the catalog found in the warehouse. Raises ExportError, with the name of the
    model, if the SQL of a model cannot be read.
    """
    models = {k: n for k, n in manifest["nodes"].items() if n["resource_type"] == "model"}
    kept = ("seed", "snapshot")  # like a raw table, they are not computed from other tables
    others = {k: n for k, n in manifest["nodes"].items() if n["resource_type"] in kept}
    raw = {**manifest["sources"], **others}
    nodes = {**raw, **models}
    dialect = manifest["metadata"]["adapter_type"]
    by_relation = {
        _key(exp.to_table(n["relation_name"], dialect=dialect)): k for k, n in nodes.items()
    }
    columns: dict[str, list[str]] = {}
    schema: dict[str, Any] = {}
    in_warehouse = {**catalog["sources"], **catalog["nodes"]}
    for name, node in raw.items():
        found = in_warehouse.get(name, {}).get("columns", {})
        columns[name] = list(dict.fromkeys([*node["columns"], *map(str.lower, found)]))
        _add(schema, node, columns[name])
    parents: dict[LineageColumn, frozenset[LineageColumn]] = {}
    below = {name: set(node["depends_on"]["nodes"]) & set(models) for name, node in models.items()}
    for name in TopologicalSorter(below).static_order():
        node = models[name]
        try:
            computed_from = dict(_columns(node["compiled_code"], schema, dialect))
            for column, leaves in computed_from.items():
                found = {
                    LineageColumn(by_relation[_key(table)], source) for table, source in leaves
                }
                # A model's column without parents is a constant, such as the null in a column that
                # this kind of event lacks. The lineage of other columns leaves it out too.
                parents[LineageColumn(name, column)] = frozenset(
                    source for source in found if source.table in raw or parents[source]
                )
        except (SqlglotError, KeyError) as error:
            raise ExportError(
                f"the lineage of {node['name']} cannot be followed: {error}"
            ) from error
        columns[name] = list(computed_from)
        _add(schema, node, columns[name])
    types = {name: _types(node, in_warehouse.get(name, {})) for name, node in nodes.items()}
    return Lineage(tuple(_tables(manifest, nodes, columns, types, parents)), parents)


def _add(schema: dict[str, Any], node: Mapping[str, Any], columns: Sequence[str]) -> None:
    """Add a table to the schema: columns by table, by schema and, except on Spark, by database."""
    declared = node["columns"]
    table = {name: declared.get(name, {}).get("data_type") or "text" for name in columns}
    place = schema.setdefault(node["database"], {}) if node["database"] else schema
    place.setdefault(node["schema"], {})[node.get("identifier") or node["alias"]] = table


def _types(node: Mapping[str, Any], in_warehouse: Mapping[str, Any]) -> dict[str, str]:
    """Return the types of a table's columns: those in its YAML, else those in the catalog."""
    found = {k.lower(): c["type"] for k, c in in_warehouse.get("columns", {}).items()}
    declared = {k: c["data_type"] for k, c in node["columns"].items() if c.get("data_type")}
    return {**found, **declared}


def _columns(
    sql: str, schema: dict[str, Any], dialect: str
) -> Iterator[tuple[str, set[tuple[exp.Table, str]]]]:
    query = qualify(parse_one(sql, dialect=dialect), schema=schema, dialect=dialect)
    assert isinstance(query, exp.Query)  # noqa: S101 - a model is one
    scope = build_scope(query)
    for column in query.named_selects:
        node = lineage(column, query, schema=schema, dialect=dialect, scope=scope, copy=False)
        yield column, set(_leaves(node))


def _leaves(node: Node) -> Iterator[tuple[exp.Table, str]]:
    if not node.downstream and isinstance(node.expression, exp.Table):
        yield node.expression, exp.to_column(node.name).name
    for below in node.downstream:
        yield from _leaves(below)


def _key(table: exp.Table) -> tuple[str, str, str]:
    return table.catalog.lower(), table.db.lower(), table.name.lower()


def _tables(
    manifest: Mapping[str, Any],
    nodes: Mapping[str, Any],
    columns: Mapping[str, Sequence[str]],
    types: Mapping[str, Mapping[str, str]],
    parents: dict[LineageColumn, frozenset[LineageColumn]],
) -> Iterator[LineageTable]:
    for name, node in nodes.items():
        layer = node["fqn"][1] if node["resource_type"] == "model" else "raw"
        declared = node["columns"]
        described = {key: declared.get(key, {}).get("description", "") for key in columns[name]}
        yield LineageTable(name, node["name"], layer, node["description"], described, types[name])
    for name, exposure in manifest["exposures"].items():
        fields: dict[str, str] = {}
        of_fields: dict[str, str] = {}
        additional: set[str] = set()
        default = {column for names in DEFAULT_FIELDS.values() for column in names}
        for below in exposure["depends_on"]["nodes"]:
            for column, found in nodes[below]["columns"].items():
                labels = (found.get("config") or {}).get("meta", {}).get("labels") or {}
                if labels:
                    heading = labels.get("en", column)
                    fields[heading] = found["description"]
                    of_fields[heading] = types[below].get(column, "")
                    if column not in default:
                        additional.add(heading)
                    parents[LineageColumn(name, heading)] = frozenset(
                        {LineageColumn(below, column)}
                    )
        yield LineageTable(
            name,
            exposure["label"] or exposure["name"],
            "files",
            exposure["description"],
            fields,
            of_fields,
            additional,
        )


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
