"""Completion files tell a receiver that the data files of a window are complete.

- `X.ready` contains the line that sha256sum(1) prints for the file X.
- The manifest is a Data Package, version 2 (https://datapackage.org/standard). With it, a program
  that knows the standard, such as `frictionless validate`, checks the hash and size of the two data
  files, and their columns, types and values. What the standard has no property for (brand, window,
  revision, the previous manifest) is in properties of our own, next to the standard ones. Nothing
  in it depends on the clock, so a window that is built again gets the same manifest.
- `X.sig` is the OpenPGP signature of X, if the export has `sign_with`.
"""

import codecs
import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.config.dialect import Compression, Dialect
from orchestrator.config.exports import KINDS, Export, File, Kind
from orchestrator.files import lines
from orchestrator.files.formats import FileField, FileFormat
from orchestrator.files.packing import PackedFile, WrittenFile, sign
from orchestrator.ledger import ManifestLinks
from orchestrator.windows import Window

PROFILE = "https://datapackage.org/profiles/2.0/datapackage.json"
_CSV = {"type": "table", "format": "csv", "mediatype": "text/csv"}
_COMPRESSIONS: dict[Compression, dict[str, str]] = {
    "none": {},
    "gzip": {"compression": "gz"},
    "zip": {"compression": "zip"},
}
"""The compressions that frictionless can read, under its names: the standard has none."""
_TYPES = {
    "integer": r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?",
    "number": r"FLOAT|DOUBLE|DECIMAL.*",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "datetime": "TIMESTAMP.*",
}
"""The field types of a table schema, by patterns of DuckDB's types; others are type string."""
_SAMPLES = (datetime(2026, 12, 31, 3, 4, 5, tzinfo=UTC), datetime(2028, 2, 29, 23, 59, tzinfo=UTC))
"""The last day of a year, and a leap day, which a pattern without a year cannot parse."""


def files(  # noqa: PLR0913 - a window of an export, and its revision
    export: Export,
    brand: str,
    window: Window,
    data_files: Mapping[Kind, WrittenFile],
    *,
    revision: int,
    links: ManifestLinks,
) -> list[WrittenFile]:
    """Write the completion files of a window, and return all its files in the order of delivery.

    They are written next to the activity file, and named after the data files, whose names may be
    those of an earlier revision. The same data files give the same completion files, except for
    signatures.
    """
    folder = data_files["activity"].local.parent
    found = [data_files[kind] for kind in KINDS]
    to_sign, to_check = iter(found[:]), iter(found[:])
    tables = [(written.file, written.table) for written in found]
    paths = export.all_files({kind: data_files[kind].file.path for kind in KINDS})
    for kind, path in paths[len(found) :]:
        if kind == "signature":
            content = _signature(export, next(to_sign).local)
        elif kind == "ready":
            content = _sha256sum_line(next(to_check).file).encode()
        else:
            content = _manifest(
                export, brand, window, tables, revision=revision, links=links
            ).encode()
        file = PackedFile(folder / PurePosixPath(path).name)
        file.write(content)
        size, sha256 = file.finish()
        found.append(WrittenFile(file.path, File(kind, path, size, sha256)))
        file.wait()
    return found


def _signature(export: Export, path: Path) -> bytes:
    """Return the detached OpenPGP signature of a file. It is different each time."""
    signer = export.dialect.signer()
    assert signer  # noqa: S101 - only exports that sign have signatures
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        target = Path(folder, "signature")
        sign(path, target, signer)
        return target.read_bytes()


def _sha256sum_line(file: File) -> str:
    # sha256sum would escape backslashes and line breaks, but no file name here contains them.
    return f"{file.sha256}  {PurePosixPath(file.path).name}\n"


def _manifest(  # noqa: PLR0913 - all that a manifest says
    export: Export,
    brand: str,
    window: Window,
    tables: Sequence[tuple[File, Mapping[str, Any]]],
    *,
    revision: int,
    links: ManifestLinks,
) -> str:
    """Return the text of the manifest of a window's data files, each given with its `table`.

    It names them without a folder, because it is delivered to the same one: a manifest must not
    refer to files outside its own folder (Data Package, "Security").
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
    # This hash also covers what the hashes of the files do not, such as the revision.
    canonical = json.dumps(described, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    described["id"] = f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


def table(file_format: FileFormat, types: Mapping[str, str]) -> dict[str, Any]:
    """Return the part of a resource that is the same for all files of a format.

    That is encoding, dialect and schema. `types` are DuckDB's types, by column.
    """
    dialect = file_format.dialect
    fields = [_field(file_format, field, types[field.column]) for field in file_format.fields]
    return {
        **_medium(file_format),
        "encoding": _encoding(dialect.encoding),
        "dialect": {
            "delimiter": dialect.delimiter,
            "header": dialect.header,
            "lineTerminator": "\r\n" if dialect.line_ending == "crlf" else "\n",
            "quoteChar": '"',
            "doubleQuote": True,
            "nullSequence": dialect.null,
            "skipInitialSpace": False,  # without this, a reader may guess
        },
        "schema": {
            "fields": fields,
            "missingValues": [dialect.null],
            **_primary_key(file_format),
        },
    }


def with_inner_path(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the `table` of one file; `name` is the name of the member if it is a zip file."""
    return {**table, "innerpath": name} if table.get("compression") == "zip" else table


def _resource(dialect: Dialect, file: File, described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resource of a data file. It has `rows` if frictionless can count them."""
    medium = dict(described)
    if not file.rows and not dialect.header and "type" in medium:
        medium = {**medium, **_other_medium("txt")}
        del medium["type"]  # for frictionless a table without any line is an error
    resource = {
        "name": file.kind,
        "path": PurePosixPath(file.path).name,
        "bytes": file.size,
        "hash": f"sha256:{file.sha256}",
    }
    if "type" in medium:
        resource["rows"] = file.rows
    return resource | medium


def _medium(file_format: FileFormat) -> dict[str, str]:
    """Return the properties that say what kind of file it is.

    The file has `type` table if frictionless can read it as a table. frictionless does not unpack
    zstd or OpenPGP, supports only delimiters of one character, and reports a row of nulls as an
    error. Of other files it only checks size and hash. They have a dialect and a schema too, for
    programs that can read them.
    """
    dialect = file_format.dialect
    if dialect.encrypt_for:
        return _other_medium("pgp", "application/pgp-encrypted")
    if dialect.compression == "zstd":
        return _other_medium("zst", "application/zstd")
    if len(dialect.delimiter) > 1 or not any(
        field.facts.is_required for field in file_format.fields
    ):
        return {**_other_medium("txt"), **_COMPRESSIONS[dialect.compression]}
    return {**_CSV, **_COMPRESSIONS[dialect.compression]}


def _other_medium(name: str, mediatype: str = "text/plain") -> dict[str, str]:
    return {"format": name, "mediatype": mediatype}


def _encoding(name: str) -> str:
    """Return the name that IANA has for one of Python's encodings."""
    found = codecs.lookup(name).name
    found = re.sub("^iso8859-", "iso-8859-", found)
    return re.sub("^cp(125[0-8])$", r"windows-\1", found)


def _field(file_format: FileFormat, field: FileField, type_name: str) -> dict[str, Any]:
    dialect, facts = file_format.dialect, field.facts
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
        described["missingValues"] = []  # a text that equals the text for null is a value here
    if facts.accepted_values and not field.is_hashed and described["type"] == "string":
        chosen = file_format.content.activity_types
        values = [
            value
            for value in facts.accepted_values
            if field.column != "activity" or chosen == "all" or value in chosen
        ]
        texts = (lines.unquoted_text(field.value_labels.get(v, v), dialect) for v in values)
        constraints["enum"] = list(dict.fromkeys(texts))
    if constraints:
        described["constraints"] = constraints
    return {name: value for name, value in described.items() if value is not None}


def _name(field: FileField, dialect: Dialect) -> str:
    """Return the name of a field: its heading without outer blanks, as frictionless reads it."""
    return lines.unquoted_heading(field.heading, dialect).strip()


def _type(field: FileField, type_name: str, dialect: Dialect) -> dict[str, Any]:
    """Return the properties that tell a program how to parse the texts of a field."""
    matching = (name for name, pattern in _TYPES.items() if re.fullmatch(pattern, type_name))
    found = next(matching, "string")
    if field.is_hashed or (found not in ("datetime", "boolean") and field.value_labels):
        found = "string"
    if found == "datetime":
        # For strptime, `%d` also means a number without a leading zero (strftime's `%-d`).
        pattern = dialect.timestamp_format.replace("%-", "%")
        return {"type": found, "format": pattern} if _is_readable(pattern) else {"type": "string"}
    if found == "boolean":
        labels = field.value_labels
        true, false = (
            [lines.unquoted_text(labels[v], dialect) if v in labels else v]
            for v in ("true", "false")
        )
        return {"type": found, "trueValues": true, "falseValues": false}
    return {"type": found}


def _is_readable(pattern: str) -> bool:
    """Return whether strptime can parse what strftime writes with a pattern.

    The standard defines a format as a pattern of strptime. A pattern with `%G` alone, for example,
    cannot be parsed.
    """
    try:
        for sample in _SAMPLES:
            datetime.strptime(sample.strftime(pattern), pattern)  # noqa: DTZ007 - the result is not used
    except (ValueError, re.error):
        return False
    return True


def _primary_key(file_format: FileFormat) -> dict[str, Any]:
    """Return the primary key of the file's rows, if the file has all its columns unchanged.

    Different values may become equal where labels or replaced line breaks stand for them.
    """
    unchanged = {
        field.column: _name(field, file_format.dialect)
        for field in file_format.fields
        if not field.is_hashed and _has_distinct_texts(field)
    }
    exact = file_format.dialect.newlines == "keep" and file_format.dialect.formulas == "keep"
    if not file_format.key or not exact or not unchanged.keys() >= {*file_format.key}:
        return {}
    return {"primaryKey": [unchanged[name] for name in file_format.key]}


def _has_distinct_texts(field: FileField) -> bool:
    """Return whether different values of a field always have different texts."""
    values = {*field.value_labels, *field.facts.accepted_values}
    texts = {field.value_labels.get(value, value) for value in values}
    return not field.value_labels or (
        bool(field.facts.accepted_values) and len(texts) == len(values)
    )
