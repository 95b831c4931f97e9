"""Column lineage: which columns of the tables below each column of a model is made from.

It is read from the SQL that dbt compiled, by sqlglot, in the dialect of the engine in use. What a
column is made from counts; that a row is chosen by a column does not.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.lineage import Node, lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope

from orchestrator.errors import ExportError
from orchestrator.files.fields import DEFAULT


@dataclass(frozen=True, order=True)
class Column:
    """A column of a table that dbt knows: a raw table, a model or a delivered file."""

    table: str
    name: str


@dataclass(frozen=True)
class Table:
    """A table of the picture: its layer, its description, and those of its columns.

    `types` are the types of columns that are known, `additional` the columns of a delivered file
    that are not in it by default.
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
    """All tables, and by column those that it is made from; none for a constant."""

    tables: tuple[Table, ...]
    parents: Mapping[Column, frozenset[Column]]

    def origins(self, column: Column) -> set[Column]:
        """Return the columns at the very beginning of this one."""
        parents = self.parents.get(column, frozenset())
        if not parents:
            return {column}
        return {origin for parent in parents for origin in self.origins(parent)}


def read(manifest: Mapping[str, Any], catalog: Mapping[str, Any]) -> Lineage:
    """Return the lineage of dbt's manifest.json, whose models are compiled, and catalog.json.

    A model has the columns that its compiled SQL selects, and a raw table also those that the
    catalog found in the warehouse, whether or not their YAML describes them.
    Raises ExportError that names the model whose SQL cannot be followed.
    """
    models = {k: n for k, n in manifest["nodes"].items() if n["resource_type"] == "model"}
    kept = ("seed", "snapshot")  # like a raw table: rows that no model selects
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
    parents: dict[Column, frozenset[Column]] = {}
    below = {name: set(node["depends_on"]["nodes"]) & set(models) for name, node in models.items()}
    for name in TopologicalSorter(below).static_order():
        node = models[name]
        try:
            made_from = dict(_columns(node["compiled_code"], schema, dialect))
            for column, leaves in made_from.items():
                found = {Column(by_relation[_key(table)], source) for table, source in leaves}
                # A column of a model that is made from nothing is a constant: a null of an event
                # that does not have the column. Nothing is made from it either.
                parents[Column(name, column)] = frozenset(
                    source for source in found if source.table in raw or parents[source]
                )
        except (SqlglotError, KeyError) as error:
            raise ExportError(
                f"the lineage of {node['name']} cannot be followed: {error}"
            ) from error
        columns[name] = list(made_from)
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
    """Return the types of a table's columns: as declared, else as the catalog found them."""
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
    parents: dict[Column, frozenset[Column]],
) -> Iterator[Table]:
    for name, node in nodes.items():
        layer = node["fqn"][1] if node["resource_type"] == "model" else "raw"
        declared = node["columns"]
        described = {key: declared.get(key, {}).get("description", "") for key in columns[name]}
        yield Table(name, node["name"], layer, node["description"], described, types[name])
    for name, exposure in manifest["exposures"].items():
        fields: dict[str, str] = {}
        of_fields: dict[str, str] = {}
        additional: set[str] = set()
        default = {column for names in DEFAULT.values() for column in names}
        for below in exposure["depends_on"]["nodes"]:
            for column, found in nodes[below]["columns"].items():
                labels = (found.get("config") or {}).get("meta", {}).get("labels") or {}
                if labels:
                    heading = labels.get("en", column)
                    fields[heading] = found["description"]
                    of_fields[heading] = types[below].get(column, "")
                    if column not in default:
                        additional.add(heading)
                    parents[Column(name, heading)] = frozenset({Column(below, column)})
        yield Table(
            name,
            exposure["label"] or exposure["name"],
            "files",
            exposure["description"],
            fields,
            of_fields,
            additional,
        )
