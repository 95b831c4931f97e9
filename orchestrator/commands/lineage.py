"""Column lineage: which columns of the tables below each column of a model is made from.

It is read from the SQL that dbt compiled, by sqlglot, in the dialect of the engine in use. What a
column is made from counts; that a row is chosen by a column does not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.lineage import Node, lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope

from orchestrator.errors import ExportError


@dataclass(frozen=True, order=True)
class Column:
    """A column of a table that dbt knows: a raw table, a model or a delivered file."""

    table: str
    name: str


@dataclass(frozen=True)
class Table:
    """A table of the picture: its layer, what it is, and what each of its columns is."""

    id: str
    name: str
    layer: str
    description: str
    columns: Mapping[str, str]


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


def read(manifest: Mapping[str, Any]) -> Lineage:
    """Return the lineage of dbt's manifest.json, whose models are compiled.

    Raises ExportError that names the model whose SQL cannot be followed.
    """
    models = {k: n for k, n in manifest["nodes"].items() if n["resource_type"] == "model"}
    nodes = {**manifest["sources"], **models}
    dialect = manifest["metadata"]["adapter_type"]
    by_relation = {
        _key(exp.to_table(n["relation_name"], dialect=dialect)): k for k, n in nodes.items()
    }
    schema: dict[str, Any] = {}
    for node in nodes.values():
        columns = {
            name: column.get("data_type") or "text" for name, column in node["columns"].items()
        }
        schema.setdefault(node["database"] or "", {}).setdefault(node["schema"], {})[
            node.get("identifier") or node["alias"]
        ] = columns
    if "" in schema:  # Spark has no databases
        schema = schema[""]
    parents: dict[Column, frozenset[Column]] = {}
    for name, node in models.items():
        try:
            for column, found in _columns(node["compiled_code"], schema, dialect):
                parents[Column(name, column)] = frozenset(
                    Column(by_relation[_key(table)], source) for table, source in found
                )
        except (SqlglotError, KeyError) as error:
            raise ExportError(
                f"the lineage of {node['name']} cannot be followed: {error}"
            ) from error
    return Lineage(tuple(_tables(manifest, nodes, parents)), parents)


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
    parents: dict[Column, frozenset[Column]],
) -> Iterator[Table]:
    for name, node in nodes.items():
        layer = "raw" if node["resource_type"] == "source" else node["fqn"][1]
        described = {key: column["description"] for key, column in node["columns"].items()}
        yield Table(name, node["name"], layer, node["description"], described)
    for name, exposure in manifest["exposures"].items():
        fields: dict[str, str] = {}
        for below in exposure["depends_on"]["nodes"]:
            for column, found in nodes[below]["columns"].items():
                labels = (found.get("config") or {}).get("meta", {}).get("labels") or {}
                if labels:
                    heading = labels.get("en", column)
                    fields[heading] = found["description"]
                    parents[Column(name, heading)] = frozenset({Column(below, column)})
        yield Table(
            name, exposure["label"] or exposure["name"], "files", exposure["description"], fields
        )
