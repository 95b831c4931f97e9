"""Quote names and texts for SQL, and remove quoted values from the error texts of databases."""

import re
from collections.abc import Collection

# How DuckDB begins an error that quotes a value: a failed conversion, a broken constraint.
_ABOUT_A_VALUE = re.compile(r"\b(?:Conversion|Invalid Input|Out of Range|Constraint) Error: ")
# Where a quoted value may begin: at a quote that is not an apostrophe, at a number of three digits
# or more, or at the lines in which PostgreSQL shows a row or a key.
_VALUE = re.compile(r"(?<![a-z])'|'(?![ts]\b)|[\"`]|=\(|(?<!\w\()\d{3}|\n\s*(?:DETAIL|CONTEXT):")
_NOUN = re.compile(
    "(?:column|relation|table|view|schema|function|type|constraint|near) $", re.IGNORECASE
)
_QUOTED_NAME = re.compile(r"(['\"`])([\w.$]+)\1")
_LINE_OF_SQL = re.compile(r"\s*LINE \d+: (?:\.\.\.)?(.+?)(?:\.\.\.)?\s*")


def identifier(name: str) -> str:
    """Return a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def names(columns: Collection[str] | None) -> str:
    """Return the select list of these columns, or `*` for None."""
    return ", ".join(map(identifier, sorted(columns))) if columns else "*"


def redacted(message: str, sql: str = "") -> str:
    """Return an error text of another program, cut before the first value of a row that it quotes.

    A value may be an e-mail address or an id, and may contain quotes and line breaks itself. So
    everything after the first value is removed, except for lines of `sql`, the statement that
    failed, to which the text points. The quoted name of a column, table and the like is kept if it
    is a word of `sql`.
    """
    words = {word for word in re.findall(r"\w+", sql) if not word[0].isdigit()}
    end = len(message)
    if about := _ABOUT_A_VALUE.search(message):
        end = about.end()
    at = 0
    while value := _VALUE.search(message, at, end):
        name = _QUOTED_NAME.match(message, value.start(), end)
        is_named = name and _NOUN.search(message, at, value.start())
        if not name or not is_named or not words.issuperset(name[2].split(".")):
            end = value.start()
            break
        at = name.end()
    text = message[:end] + "…" * (end < len(message))
    lines = message[end:].splitlines()
    for number, line in enumerate(lines):
        quoted = _LINE_OF_SQL.fullmatch(line)
        if quoted and quoted[1] in sql:
            pointer = lines[number + 1] if number + 1 < len(lines) else ""
            text += f"\n{line}\n{pointer if not pointer.strip(' ^') else ''}"
    return re.sub(r"[^\s'\"]+@[^\s'\"]+", "…@…", text.rstrip())
