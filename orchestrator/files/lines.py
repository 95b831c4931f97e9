"""Lines: the SQL expression that turns a row of the stage into a line of a file.

DuckDB builds the lines for every engine, so the bytes are the same everywhere. The rules are those
of RFC 4180 and of exports.yml: a field is quoted if it contains the delimiter, a quote, CR or LF.
Under minimal quoting it is also quoted if it is an empty text or equals the text for null, so that
a reader can tell both from null.

A text may contain bytes that are not UTF-8, because an SQL_ASCII database returns any bytes.
Functions of DuckDB that decode a text (length, instr, regular expressions) then invalidate the
whole database of this process. So only functions that work on bytes may be used on texts here.
"""

import re
from collections.abc import Mapping, Sequence

from orchestrator.config.dialect import Dialect
from orchestrator.files.formats import FileField
from orchestrator.warehouse.sql import identifier, literal

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""The first characters of a formula, according to OWASP's page on CSV injection."""


def line(fields: Sequence[FileField], types: Mapping[str, str], dialect: Dialect) -> str:
    """Return the expression of a row's line, including its line ending.

    `types` are DuckDB's types, by column. The line is null if the row has a timestamp that no file
    can contain (`unwritable` says which).
    """
    joined = _join(texts(fields, types, dialect), dialect)
    out_of_range = [
        _is_out_of_range(field, types[field.column], dialect)
        for field in _timestamps(fields, types)
    ]
    if not out_of_range:
        return joined
    return f"case when {' or '.join(out_of_range)} then null else {joined} end"


def unwritable(
    fields: Sequence[FileField], types: Mapping[str, str], dialect: Dialect
) -> list[tuple[str, str, str]]:
    """Return `(column, SQL condition, reason)` for each kind of value that no file can contain."""
    reason = f"it is infinite, or not in the years 1 to 9999 in {dialect.timezone.key}"
    found = [
        (field.column, _is_out_of_range(field, types[field.column], dialect), reason)
        for field in _timestamps(fields, types)
    ]
    for field in fields:
        if types[field.column] == "VARCHAR":
            name = identifier(field.column)
            condition = f"{name} is not null and {valid_text(name)} is null"
            found.append((field.column, condition, "it is not valid UTF-8"))
    return found


def valid_text(text: str) -> str:
    """Return the expression of a text that becomes null if the text is not valid UTF-8."""
    return f"try(decode(encode({text})))"


def header(fields: Sequence[FileField], dialect: Dialect) -> str:
    """Return the expression of the header line, including its line ending."""
    return _join([_escaped(literal(field.heading), dialect) for field in fields], dialect)


def unquoted_text(text: str, dialect: Dialect) -> str:
    """Return a text as a CSV reader returns it from the file: what `line` writes, unquoted."""
    text = unquoted_heading(text, dialect)
    return re.sub("\r\n|\r|\n", " ", text) if dialect.newlines == "space" else text


def unquoted_heading(text: str, dialect: Dialect) -> str:
    """Return a heading as a CSV reader returns it from the file."""
    is_formula = dialect.formulas == "escape" and text.startswith(_FORMULA_STARTS)
    return f"'{text}" if is_formula else text


def texts(fields: Sequence[FileField], types: Mapping[str, str], dialect: Dialect) -> list[str]:
    """Return the expressions of the texts of a row's fields, before they are quoted."""
    return [_text(field, types[field.column], dialect) for field in fields]


def _join(texts: Sequence[str], dialect: Dialect) -> str:
    end = "chr(13), chr(10)" if dialect.line_ending == "crlf" else "chr(10)"
    delimiter = f", {literal(dialect.delimiter)}, "
    # One call of concat(): a chain of || would copy the text at each step.
    return f"concat({delimiter.join(_quoted(text, dialect) for text in texts)}, {end})"


def _quoted(text: str, dialect: Dialect) -> str:
    null = literal(dialect.null)
    wrapped = f"""'"' || replace({text}, '"', '""') || '"'"""
    if dialect.quoting == "all":
        return f"coalesce({wrapped}, '\"' || {null} || '\"')"
    needs_quotes = [f"contains({text}, {part})" for part in ("'\"'", "chr(13)", "chr(10)")]
    needs_quotes += [_contains_delimiter(text, dialect.delimiter), f"{text} in ('', {null})"]
    condition = " or ".join(needs_quotes)
    return f"case when {text} is null then {null} when {condition} then {wrapped} else {text} end"


def _contains_delimiter(text: str, delimiter: str) -> str:
    """Return the condition that a text needs quotes because of the delimiter.

    With the delimiter `||` these are texts such as `a||b`, and also `a|`: followed by the delimiter
    it would become `a|||`, which a reader splits one character too early.
    """
    if len(delimiter) == 1:
        return f"contains({text}, {literal(delimiter)})"
    # With all of the delimiter except its last character appended, a match must begin in the text.
    return f"contains({text} || {literal(delimiter[:-1])}, {literal(delimiter)})"


def _text(field: FileField, type_name: str, dialect: Dialect) -> str:
    column = identifier(field.column)
    if type_name.startswith("TIMESTAMP"):
        text = _formatted_timestamp(column, type_name, dialect)
    elif field.value_labels:
        whens = " ".join(
            f"when {literal(value)} then {literal(label)}"
            for value, label in field.value_labels.items()
        )
        text = f"case cast({column} as varchar) {whens} else cast({column} as varchar) end"
    else:
        text = f"cast({column} as varchar)"
    if field.is_hashed:
        salt = f"{literal(field.salt.get_secret_value())} || " if field.salt else ""
        text = f"sha256({salt}{text})"
    elif type_name == "VARCHAR" or field.value_labels:
        text = _escaped(text, dialect)
    if dialect.newlines == "space" and not type_name.startswith("TIMESTAMP"):
        for line_break in ("chr(13) || chr(10)", "chr(13)", "chr(10)"):
            text = f"replace({text}, {line_break}, ' ')"
    return f"({text})"


def _escaped(text: str, dialect: Dialect) -> str:
    """Return the expression of a text, with an apostrophe before it if it would be a formula.

    The caller leaves out numbers and timestamps: their minus sign starts no formula.
    """
    if dialect.formulas == "keep":
        return text
    first = f"({', '.join(map(literal, _FORMULA_STARTS))})"
    return f"case when left({text}, 1) in {first} then chr(39) || {text} else {text} end"


def _timestamps(fields: Sequence[FileField], types: Mapping[str, str]) -> list[FileField]:
    return [field for field in fields if types[field.column].startswith("TIMESTAMP")]


def _is_out_of_range(field: FileField, type_name: str, dialect: Dialect) -> str:
    """Return the condition that a timestamp is infinite, or not in the local years 1 to 9999.

    Only timestamps near the two ends are converted to local time, because a second conversion of
    every timestamp would take time.
    """
    column = identifier(field.column)
    local = f"timezone({literal(dialect.timezone.key)}, {_instant(column, type_name)})"
    return (
        f"case when {column} between '0001-01-02' and '9999-12-30' then false"
        f" else {local} not between '0001-01-01' and '9999-12-31 23:59:59.999999' end"
    )


def _instant(column: str, type_name: str) -> str:
    return column if type_name.endswith("TIME ZONE") else f"timezone('UTC', {column})"


def _formatted_timestamp(column: str, type_name: str, dialect: Dialect) -> str:
    """Return the expression of a timestamp in the export's time zone and format.

    `%z` is computed here, because DuckDB's own leaves out the minutes of the offset.
    """
    instant = _instant(column, type_name)
    zone = literal(dialect.timezone.key)
    local = f"timezone({zone}, {instant})"
    offset = f"({local} - timezone('UTC', {instant}))"
    minutes = f"cast(epoch({offset}) // 60 as integer)"
    hours, rest = f"abs({minutes}) // 60", f"abs({minutes}) % 60"
    signed = f"printf('%s%02d%02d', if({minutes} < 0, '-', '+'), {hours}, {rest})"
    # `%%` is an escaped percent sign, so `%%z` does not contain the code `%z`.
    parts = re.split(r"((?:%%)+)|(%z)", dialect.timestamp_format)
    texts: list[str] = []
    for part in parts:
        if part == "%z":
            texts.append(signed)
        elif part:
            texts.append(f"strftime({local}, {literal(part)})")
    return " || ".join(texts)
