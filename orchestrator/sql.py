"""Names and texts in SQL."""


def identifier(name: str) -> str:
    """Return an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return an SQL text."""
    return "'" + text.replace("'", "''") + "'"
