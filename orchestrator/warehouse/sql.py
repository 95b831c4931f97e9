"""Names and texts in SQL."""

from collections.abc import Collection


def identifier(name: str) -> str:
    """Return an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return an SQL text."""
    return "'" + text.replace("'", "''") + "'"


def names(columns: Collection[str] | None) -> str:
    """Return what a query selects: these columns, else all."""
    return ", ".join(map(identifier, sorted(columns))) if columns else "*"
