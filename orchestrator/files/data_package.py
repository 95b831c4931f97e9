"""The manifest of a window: a Data Package, version 2 (https://datapackage.org/standard).

A program that knows the standard, such as `frictionless validate`, checks the two files by it: the
hash and size of each, its columns, types and values. What the standard has no word for (brand,
window, revision, the manifest before this one) is in properties of our own, next to those of the
standard. Nothing in it depends on the clock: a window that is built again gets the same manifest.
"""

import codecs
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from orchestrator.config.dialect import Compression, Dialect
from orchestrator.config.exports import Export, File
from orchestrator.files import lines
from orchestrator.files.fields import FileField
from orchestrator.files.formats import FileFormat
from orchestrator.ledger import ManifestLinks
from orchestrator.windows import Window

PROFILE = "https://datapackage.org/profiles/2.0/datapackage.json"
_CSV = {"type": "table", "format": "csv", "mediatype": "text/csv"}
_COMPRESSIONS: dict[Compression, dict[str, str]] = {
    "none": {},
    "gzip": {"compression": "gz"},
    "zip": {"compression": "zip"},
}
"""The compressions that frictionless reads, by its names: the standard has none."""
_TYPES = {
    "integer": r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?",
    "number": r"FLOAT|DOUBLE|DECIMAL.*",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "datetime": "TIMESTAMP.*",
}
"""The types of a table schema, by DuckDB's types; every other type is written as a text."""
_SAMPLES = (datetime(2026, 12, 31, 3, 4, 5, tzinfo=UTC), datetime(2028, 2, 29, 23, 59, tzinfo=UTC))
"""A last day of a year, and a leap day: the days that patterns without a year cannot read."""


def manifest(  # noqa: PLR0913 - all that a manifest says
    export: Export,
    brand: str,
    window: Window,
    tables: Sequence[tuple[File, Mapping[str, Any]]],
    *,
    revision: int,
    links: ManifestLinks,
) -> str:
    """Return the text of the manifest of a window's data files, each with its `table`.

    It is in the folder of those files: a manifest must not name files outside its own folder (Data
    Package, "Security").
    """
    zone = export.timezone
    described: dict[str, Any] = {
        "$schema": PROFILE,
        "brand": brand,
        "export": links.export,
        "interval": export.interval.value,
        "timezone": zone.key,
        "window_start": window.start.astimezone(zone).isoformat(),
        "window_end": window.end.astimezone(zone).isoformat(),
        "revision": revision,
        "rows": {file.kind: file.rows for file, _ in tables},
        "sequence": links.sequence,
        "previous": links.previous and f"sha256:{links.previous}",
        "replaces": [f"sha256:{sha256}" for sha256 in links.replaced],
        "resources": [_resource(export.dialect, file, table) for file, table in tables],
    }
    # What no other hash covers, such as the revision, is covered by this one.
    canonical = json.dumps(described, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    described["id"] = f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


def table(form: FileFormat, types: Mapping[str, str]) -> dict[str, Any]:
    """Return what the standard says of every file of a format; `types` are DuckDB's, by column."""
    dialect = form.dialect
    fields = [_field(form, field, types[field.column]) for field in form.fields]
    return {
        **_medium(form),
        "encoding": _encoding(dialect.encoding),
        "dialect": {
            "delimiter": dialect.delimiter,
            "header": dialect.header,
            "lineTerminator": "\r\n" if dialect.line_ending == "crlf" else "\n",
            "quoteChar": '"',
            "doubleQuote": True,
            "nullSequence": dialect.null,
            "skipInitialSpace": False,  # a reader that is not told so may guess
        },
        "schema": {
            "fields": fields,
            "missingValues": [dialect.null],
            **_primary_key(form),
        },
    }


def of_file(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the `table` of a file that had this name before it was packed."""
    return {**table, "innerpath": name} if table.get("compression") == "zip" else table


def _resource(dialect: Dialect, file: File, described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resource of a data file. `rows` is there where frictionless can count them."""
    medium = dict(described)
    if not file.rows and not dialect.header and "type" in medium:
        medium = {**medium, **_other_medium("txt")}
        del medium["type"]  # a table without any line is an error to frictionless
    resource = {
        "name": file.kind,
        "path": PurePosixPath(file.path).name,
        "bytes": file.size,
        "hash": f"sha256:{file.sha256}",
    }
    if "type" in medium:
        resource["rows"] = file.rows
    return resource | medium


def _medium(form: FileFormat) -> dict[str, str]:
    """Return what kind of file it is to programs that know the standard.

    A file is of `type` table where frictionless can read it as one. It does not unpack zstd and
    OpenPGP, knows delimiters of one character alone, and takes a row of nulls for an error. Of
    other files it checks bytes and hash; their dialect and schema say how to read them all the
    same.
    """
    dialect = form.dialect
    if dialect.encrypt_for:
        return _other_medium("pgp", "application/pgp-encrypted")
    if dialect.compression == "zstd":
        return _other_medium("zst", "application/zstd")
    if len(dialect.delimiter) > 1 or not any(field.facts.is_required for field in form.fields):
        return {**_other_medium("txt"), **_COMPRESSIONS[dialect.compression]}
    return {**_CSV, **_COMPRESSIONS[dialect.compression]}


def _other_medium(name: str, mediatype: str = "text/plain") -> dict[str, str]:
    return {"format": name, "mediatype": mediatype}


def _encoding(name: str) -> str:
    """Return the name of an encoding that IANA knows, where Python's own is another."""
    found = codecs.lookup(name).name
    found = re.sub("^iso8859-", "iso-8859-", found)
    return re.sub("^cp(125[0-8])$", r"windows-\1", found)


def _field(form: FileFormat, field: FileField, type_name: str) -> dict[str, Any]:
    dialect, facts = form.dialect, field.facts
    constraints: dict[str, Any] = {"required": True} if facts.is_required else {}
    described: dict[str, Any] = {
        "name": _name(field, dialect),
        "title": field.label,
        "description": facts.description or None,
        "column": field.column,
        **_type(field, type_name, dialect),
    }
    if field.is_hashed:
        described["hashed"] = "sha256"
        constraints["pattern"] = "[0-9a-f]{64}"
    if facts.is_required and described["type"] == "string":
        described["missingValues"] = []  # a text that reads like null is a text here
    if facts.accepted_values and not field.is_hashed and described["type"] == "string":
        chosen = form.content.activity_types
        values = [
            value
            for value in facts.accepted_values
            if field.column != "activity" or chosen == "all" or value in chosen
        ]
        texts = (lines.plain_text(field.value_labels.get(v, v), dialect) for v in values)
        constraints["enum"] = list(dict.fromkeys(texts))
    if constraints:
        described["constraints"] = constraints
    return {name: value for name, value in described.items() if value is not None}


def _name(field: FileField, dialect: Dialect) -> str:
    """Return the name of a field: its heading as frictionless reads it, without outer blanks."""
    return lines.plain_heading(field.heading, dialect).strip()


def _type(field: FileField, type_name: str, dialect: Dialect) -> dict[str, Any]:
    """Return type and format of a field, by which a program reads its text."""
    found = next((to for to, of in _TYPES.items() if re.fullmatch(of, type_name)), "string")
    if field.is_hashed or (found not in ("datetime", "boolean") and field.value_labels):
        found = "string"
    if found == "datetime":
        # strptime reads numbers with and without leading zeros by one code.
        pattern = dialect.timestamp_format.replace("%-", "%")
        return {"type": found, "format": pattern} if _is_readable(pattern) else {"type": "string"}
    if found == "boolean":
        labels = field.value_labels
        true, false = (
            [lines.plain_text(labels[v], dialect) if v in labels else v] for v in ("true", "false")
        )
        return {"type": found, "trueValues": true, "falseValues": false}
    return {"type": found}


def _is_readable(pattern: str) -> bool:
    """Tell whether strptime reads what strftime writes by a pattern: `%G` alone, say, it does not.

    The standard says that a format is a pattern of strptime.
    """
    try:
        for sample in _SAMPLES:
            datetime.strptime(sample.strftime(pattern), pattern)  # noqa: DTZ007 - is it readable?
    except (ValueError, re.error):
        return False
    return True


def _primary_key(form: FileFormat) -> dict[str, Any]:
    """Return the key of the file's rows, where the file has all its columns as they are.

    Labels of two values can be alike, and so can texts whose line breaks are replaced.
    """
    faithful = {
        field.column: _name(field, form.dialect)
        for field in form.fields
        if not field.is_hashed and _has_distinct_texts(field)
    }
    exact = form.dialect.newlines == "keep" and form.dialect.formulas == "keep"
    if not form.key or not exact or not faithful.keys() >= {*form.key}:
        return {}
    return {"primaryKey": [faithful[name] for name in form.key]}


def _has_distinct_texts(field: FileField) -> bool:
    """Tell whether two values of a field are never written as one text."""
    values = {*field.value_labels, *field.facts.accepted_values}
    texts = {field.value_labels.get(value, value) for value in values}
    return not field.value_labels or (
        bool(field.facts.accepted_values) and len(texts) == len(values)
    )
