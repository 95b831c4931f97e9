"""Rows: one SQL expression that turns a row of the stage into a line of a file.

DuckDB builds the lines for every engine, so the bytes are the same everywhere. The rules are those
of RFC 4180 and of exports.yml: a field is quoted if it contains the delimiter, a quote, CR or LF,
or, under minimal quoting, if it is an empty text or reads like null.

A text may have bytes that are not UTF-8: an SQL_ASCII database gives what it has. DuckDB's
functions that decode a text (length, instr, regular expressions) then end the database of this
process, so only functions that work on bytes may be used on texts here.
"""

import re
from collections.abc import Mapping, Sequence

from orchestrator.config.dialect import Dialect
from orchestrator.files.fields import FileField
from orchestrator.warehouse.sql import identifier, literal

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""The first characters of a formula, as on OWASP's page on CSV injection."""


def line(fields: Sequence[FileField], types: Mapping[str, str], dialect: Dialect) -> str:
    """Return the expression of a row's line, its line ending included.

    It is null for a row with a moment that no file can contain.
    """
    joined = _join(texts(fields, types, dialect), dialect)
    far = [_far(field, types[field.column], dialect) for field in _moments(fields, types)]
    return f"case when {' or '.join(far)} then null else {joined} end" if far else joined


def unwritable(
    fields: Sequence[FileField], types: Mapping[str, str], dialect: Dialect
) -> list[tuple[str, str, str]]:
    """Return what no file can contain: column, the SQL condition of such a row, and the reason."""
    reason = f"it is infinite, or not in the years 1 to 9999 in {dialect.timezone.key}"
    found = [
        (field.column, _far(field, types[field.column], dialect), reason)
        for field in _moments(fields, types)
    ]
    for field in fields:
        if types[field.column] == "VARCHAR":
            name = identifier(field.column)
            condition = f"{name} is not null and {valid_text(name)} is null"
            found.append((field.column, condition, "it is not valid UTF-8"))
    return found


def valid_text(text: str) -> str:
    """Return the expression of a text, which is null where the text is not valid UTF-8."""
    return f"try(decode(encode({text})))"


def header(fields: Sequence[FileField], dialect: Dialect) -> str:
    """Return the expression of the header line."""
    return _join([_escaped(literal(field.heading), dialect) for field in fields], dialect)


def plain_text(text: str, dialect: Dialect) -> str:
    """Return a text as a reader of the file finds it: what `line` writes, without the quotes."""
    text = plain_heading(text, dialect)
    return re.sub("\r\n|\r|\n", " ", text) if dialect.newlines == "space" else text


def plain_heading(text: str, dialect: Dialect) -> str:
    """Return a heading as a reader of the file finds it."""
    is_formula = dialect.formulas == "escape" and text.startswith(_FORMULA_STARTS)
    return f"'{text}" if is_formula else text


def texts(fields: Sequence[FileField], types: Mapping[str, str], dialect: Dialect) -> list[str]:
    """Return the expressions of a row's fields, as they are before any of them is quoted."""
    return [_text(field, types[field.column], dialect) for field in fields]


def _join(texts: Sequence[str], dialect: Dialect) -> str:
    end = "chr(13), chr(10)" if dialect.line_ending == "crlf" else "chr(10)"
    delimiter = f", {literal(dialect.delimiter)}, "
    # One call: a chain of || would copy what it has at each step.
    return f"concat({delimiter.join(_quoted(text, dialect) for text in texts)}, {end})"


def _quoted(text: str, dialect: Dialect) -> str:
    null = literal(dialect.null)
    wrapped = f"""'"' || replace({text}, '"', '""') || '"'"""
    if dialect.quoting == "all":
        return f"coalesce({wrapped}, '\"' || {null} || '\"')"
    needs_quotes = [f"contains({text}, {part})" for part in ("'\"'", "chr(13)", "chr(10)")]
    needs_quotes += [_holds(text, dialect.delimiter), f"{text} in ('', {null})"]
    condition = " or ".join(needs_quotes)
    return f"case when {text} is null then {null} when {condition} then {wrapped} else {text} end"


def _holds(text: str, delimiter: str) -> str:
    """Tell whether a text contains the delimiter, or ends so that with the next one it would."""
    if len(delimiter) == 1:
        return f"contains({text}, {literal(delimiter)})"
    # Within these texts together, the delimiter can only begin in the first one.
    return f"contains({text} || {literal(delimiter[:-1])}, {literal(delimiter)})"


def _text(field: FileField, type_name: str, dialect: Dialect) -> str:
    column = identifier(field.column)
    if type_name.startswith("TIMESTAMP"):
        text = _moment(column, type_name, dialect)
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
    """Return the text with a quote before what a spreadsheet would run as a formula.

    Numbers and times are not text: a minus sign at their beginning stays as it is.
    """
    if dialect.formulas == "keep":
        return text
    first = f"({', '.join(map(literal, _FORMULA_STARTS))})"
    return f"case when left({text}, 1) in {first} then chr(39) || {text} else {text} end"


def _moments(fields: Sequence[FileField], types: Mapping[str, str]) -> list[FileField]:
    return [field for field in fields if types[field.column].startswith("TIMESTAMP")]


def _far(field: FileField, type_name: str, dialect: Dialect) -> str:
    """Return the condition of a moment that is infinite or not in a year of four digits.

    The time zone is asked only near both ends: to convert each moment once more takes time.
    """
    column = identifier(field.column)
    local = f"timezone({literal(dialect.timezone.key)}, {_instant(column, type_name)})"
    return (
        f"case when {column} between '0001-01-02' and '9999-12-30' then false"
        f" else {local} not between '0001-01-01' and '9999-12-31 23:59:59.999999' end"
    )


def _instant(column: str, type_name: str) -> str:
    return column if type_name.endswith("TIME ZONE") else f"timezone('UTC', {column})"


def _moment(column: str, type_name: str, dialect: Dialect) -> str:
    """Format an instant in the export's time zone; DuckDB's own %z lacks the minutes."""
    instant = _instant(column, type_name)
    zone = literal(dialect.timezone.key)
    local = f"timezone({zone}, {instant})"
    offset = f"({local} - timezone('UTC', {instant}))"
    minutes = f"cast(epoch({offset}) // 60 as integer)"
    hours, rest = f"abs({minutes}) // 60", f"abs({minutes}) % 60"
    signed = f"printf('%s%02d%02d', if({minutes} < 0, '-', '+'), {hours}, {rest})"
    # A doubled percent sign is no code: `%%z` is a percent sign and a z.
    parts = re.split(r"((?:%%)+)|(%z)", dialect.timestamp_format)
    texts: list[str] = []
    for part in parts:
        if part == "%z":
            texts.append(signed)
        elif part:
            texts.append(f"strftime({local}, {literal(part)})")
    return " || ".join(texts)
