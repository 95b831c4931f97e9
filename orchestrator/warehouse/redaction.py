"""Error texts of databases, without the values of rows that they quote."""

import re

# What a database says of values: that it could not convert one, or that one breaks a rule.
_OF_VALUES = re.compile(r"\b(?:Conversion|Invalid Input|Out of Range|Constraint) Error: ")


# Where a value begins: at a quote that is no apostrophe, at a long number, or where PostgreSQL
# shows a row or a key.
_VALUE = re.compile(r"(?<![a-z])'|'(?![ts]\b)|[\"`]|=\(|(?<!\w\()\d{3}|\n\s*(?:DETAIL|CONTEXT):")


_NOUN = re.compile(
    "(?:column|relation|table|view|schema|function|type|constraint|near) $", re.IGNORECASE
)


_QUOTED_NAME = re.compile(r"(['\"`])([\w.$]+)\1")


_LINE_OF_SQL = re.compile(r"\s*LINE \d+: (?:\.\.\.)?(.+?)(?:\.\.\.)?\s*")


def redacted(message: str, sql: str = "") -> str:
    """Return what another program says, up to the first value that it quotes.

    Any value of a row may be an address or an id, and may hold quotes and line breaks itself: so
    nothing behind it is told but lines of the `sql` that was run, where the program points at one.
    A quoted name of a column and the like is told too, where it is a word of that SQL.
    """
    words = {word for word in re.findall(r"\w+", sql) if not word[0].isdigit()}
    end = len(message)
    if kind := _OF_VALUES.search(message):
        end = kind.end()
    at = 0
    while value := _VALUE.search(message, at, end):
        name = _QUOTED_NAME.match(message, value.start(), end)
        is_named = name and _NOUN.search(message, at, value.start())
        if not name or not is_named or not words.issuperset(name[2].split(".")):
            end = value.start()
            break
        at = name.end()
    told = message[:end] + "…" * (end < len(message))
    lines = message[end:].splitlines()
    for number, line in enumerate(lines):
        shown = _LINE_OF_SQL.fullmatch(line)
        if shown and shown[1] in sql:
            pointer = lines[number + 1] if number + 1 < len(lines) else ""
            told += f"\n{line}\n{pointer if not pointer.strip(' ^') else ''}"
    return re.sub(r"[^\s'\"]+@[^\s'\"]+", "…@…", told.rstrip())
