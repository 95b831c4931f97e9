"""The JSON Schema of exports.yml describes every key, and agrees with the models."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
import yaml_editor
from forked_commands import ORCHESTRATE
from workspace import ROOT

from orchestrator import config
from orchestrator.commands import demo
from orchestrator.config import schema as config_schema
from orchestrator.config.exports import Export

MINIMAL = """\
destinations:
  archive: {directory: files}
exports:
  - {brand: ACME}
"""
SFTP = "{sftp: {host: h, username: u}}"


def with_line(line: str) -> str:
    return MINIMAL.replace("{brand: ACME}", f"{{brand: ACME, {line}}}")


def with_sftp(line: str) -> str:
    return MINIMAL.replace(
        "{directory: files}", SFTP.replace("username: u", f"username: u, {line}")
    )


def keys(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each key of exports.yml as `Owner.key`, with its schema."""
    for name, definition in {**schema["$defs"], "the file": schema}.items():
        for key, about in definition.get("properties", {}).items():
            yield f"{name}.{key}", about


def test_the_committed_schema_is_what_the_command_prints() -> None:
    ran = subprocess.run(
        [ORCHESTRATE, "config", "schema"], capture_output=True, text=True, check=True
    )
    assert ran.stdout == (ROOT / "exports.schema.json").read_text(encoding="utf-8"), (
        "rebuild it: orchestrate config schema > exports.schema.json"
    )
    assert ran.stderr == ""


def test_the_schema_is_valid_and_refuses_unknown_keys() -> None:
    schema = config_schema.schema()
    yaml_editor.VALIDATOR.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for definition in (schema, *schema["$defs"].values()):
        if "properties" in definition:
            assert definition["additionalProperties"] is False


def test_every_key_has_a_description_and_its_default() -> None:
    schema = config_schema.schema()
    for key, about in keys(schema):
        assert about.get("description"), key
        owner, _, name = key.partition(".")
        required = {**schema["$defs"], "the file": schema}[owner].get("required", [])
        assert name in required or "default" in about or key == "Export.destination", key
    assert {*Export.written_keys()} <= schema["$defs"]["Export"]["properties"].keys()


def test_the_defaults_are_those_of_the_models(tmp_path: Path) -> None:
    schema = config_schema.schema()
    defaults = {
        name: {k: about["default"] for k, about in of["properties"].items() if "default" in about}
        for name, of in {**schema["$defs"], "the file": schema}.items()
        if "properties" in of
    }
    short = {"destinations": {"a": {"sftp": {"host": "h", "username": "u"}}}}
    line = {
        **defaults["DestinationLine"],
        "sftp": {**defaults["Sftp"], "host": "h", "username": "u"},
    }
    long = {
        **defaults["the file"],
        "destinations": {"a": line},
        "exports": [{"brand": "ACME", **defaults["Export"]}],
    }
    path = tmp_path / "exports.yml"
    loaded: list[list[object]] = []
    for document in ({**short, "exports": [{"brand": "ACME"}]}, long):
        text = yaml.safe_dump(document)
        assert yaml_editor.complaints(text) == []
        path.write_text(text, encoding="utf-8")
        found = config.read(path)
        loaded.append([found.exports, found.destinations, found.state, found.outbox])
        loaded[-1] += [found.keep_local, found.retention, found.notify]
    assert loaded[0] == loaded[1]


def test_an_enumeration_names_its_values() -> None:
    properties = config_schema.schema()["$defs"]["Export"]["properties"]
    assert properties["formulas"]["anyOf"][0]["enum"] == ["keep", "escape"]
    assert "Europe/Amsterdam" in properties["timezone"]["anyOf"][0]["enum"]


def test_the_examples_are_valid(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n((?:destinations|exports):.*?)```", readme, re.DOTALL)
    assert len(blocks) > 0
    complete = [block for block in blocks if "destinations:" in block]
    for text in (
        *complete,
        (ROOT / "exports.yml").read_text(encoding="utf-8"),
        demo.write_config(tmp_path, 2222).read_text(encoding="utf-8"),
    ):
        assert yaml_editor.complaints(text) == [], text


INVALID = [
    with_line("delimeter: ';'"),
    with_line("quoting: some"),
    with_line("labels: English and Dutch"),
    with_line("interval: dayly"),
    with_line("timezone: Europe/Amsterdm"),
    with_line("at: 6 o'clock"),
    with_line("at: '24:00'"),
    with_line("settle: 15"),
    with_line("settle: 15 m"),
    with_line("wait: 1 month"),
    with_line("formulas: run"),
    with_line("settle: [15m]"),
    with_line("header: perhaps"),
    with_line("header: 2"),
    with_line("start: yesterday"),
    with_line("start: 0001-01-01"),
    with_line("start: 20261121"),
    with_line("start: 86400"),
    with_line("delimiter: ''"),
    with_line(r"delimiter: '\t'"),
    with_line(r'delimiter: "\n"'),
    with_line("null: '\"'"),
    with_line("extension: .csv"),
    with_line("timestamp_format: ''"),
    with_line("activity_file: [a]"),
    with_line("activity_fields: []"),
    with_line("activity_fields: some"),
    with_line("activity_fields: [{as: x}]"),
    with_line("activity_fields: [{column: a, hsh: sha256}]"),
    with_line("activity_fields: [{column: a, hash: md5}]"),
    with_line("additional_fields: [os]"),
    with_line("additional_fields: {activity: [os]}"),
    with_line("activity_types: []"),
    with_line("activity_types: some"),
    with_line("destination: []"),
    with_line("destination: {archive: yes}"),
    with_line("compression: rar"),
    with_line("completion: perhaps"),
    MINIMAL.replace("brand: ACME", "labels: nl"),
    MINIMAL.replace("- {brand: ACME}", "{brand: ACME}"),
    MINIMAL.replace("  - {brand: ACME}", "  []"),
    MINIMAL.replace("exports", "export"),
    MINIMAL.replace("{directory: files}", "{ftp: files}"),
    MINIMAL.replace("{directory: files}", "files"),
    MINIMAL.replace("{directory: files}", "{}"),
    MINIMAL.replace("{directory: files}", f"{{directory: files, {SFTP[1:-1]}}}"),
    MINIMAL.replace("files}", "files, retention: 0d}"),
    MINIMAL.replace("files}", "files, retention: sixty days}"),
    with_sftp("port: 70000"),
    with_sftp("port: ssh"),
    with_sftp("user: u"),
    with_sftp("timeout: 0s"),
    with_sftp("password: [hush]"),
    MINIMAL.replace("{directory: files}", "{sftp: {host: h}}"),
    MINIMAL + "defaults: {brand: ACME}\n",
    MINIMAL + "defaults: {labels: 2}\n",
    MINIMAL + "defaults: [labels]\n",
    MINIMAL + "outbx: there\n",
    MINIMAL + "keep_local: 14\n",
    MINIMAL + "notify: json://localhost\n",
]


@pytest.mark.parametrize("text", INVALID)
def test_schema_and_models_refuse_the_same_texts(tmp_path: Path, text: str) -> None:
    assert not yaml_editor.is_loaded(tmp_path / "exports.yml", text)
    assert yaml_editor.complaints(text) != []


VALID = [
    MINIMAL,
    with_line("labels: nl, quoting: all, newlines: space, line_ending: crlf, empty: skip"),
    with_line("interval: 15m"),
    with_line("labels: pt-BR, formulas: escape, wait: 0s"),
    with_line("interval: monthly, start: 2026-11-01, at: 12:00"),
    with_line("start: null"),
    with_line("header: no"),
    with_line("header: False"),
    with_line("header: 'on'"),
    with_line("header: 0"),
    with_line("null: 'NULL', delimiter: ';'"),
    with_line("null: 0"),
    with_line("null: \\N"),
    with_line(r'delimiter: "\t"'),
    with_line("delimiter: '||'"),
    with_line("extension: 7z"),
    with_line("extension: 7"),
    with_line("timezone: America/Argentina/Buenos_Aires"),
    with_line("destination: archive"),
    with_line("destination: [archive]"),
    with_line("directory: '{brand}/{window_start:%Y}'"),
    with_line("activity_fields: [customer_id, {column: a, as: b, hash: sha256, salt: 1}]"),
    with_line("activity_fields: default, broadcast_fields: [subject]"),
    with_line("activity_types: [open, click], machine_activity: exclude"),
    with_line("additional_fields: {activities: [url]}"),
    with_line("compression: zstd, completion: both"),
    with_line("encrypt_for: null"),
    with_line("labels: \"{{ env_var('LABELS', 'nl') }}\""),
    with_line("header: \"{{ env_var('HEADER', 'false') }}\""),
    with_line("settle: \"{{ env_var('SETTLE', '5') }}m\""),
    with_line("timezone: \"{{ env_var('ZONE', 'UTC') }}\""),
    MINIMAL.replace("ACME", "007"),
    MINIMAL.replace("ACME", "NO"),
    MINIMAL.replace("ACME", "'*'"),
    MINIMAL.replace("files}", "files, retention: 60d}"),
    MINIMAL.replace("files}", "files, retention: 2mo}"),
    MINIMAL.replace("files}", "files, retention: null, sftp: null}"),
    with_sftp("port: 2222, password: 123456, timeout: 5s, private_key: ~/key"),
    with_sftp("port: '22', passphrase: null"),
    with_sftp("port: \"{{ env_var('PORT', '2222') }}\""),
    MINIMAL + "defaults:\nstate:\noutbox:\nkeep_local:\nnotify:\n",
    MINIMAL + "defaults: {labels: nl, at: 07:30}\nkeep_local: 0d\nnotify: [json://localhost]\n",
    MINIMAL.replace("ACME", "A, <<: &x {labels: nl}") + "  - {brand: B, <<: *x}\n",
]


@pytest.mark.parametrize("text", VALID)
def test_schema_and_models_accept_the_same_texts(tmp_path: Path, text: str) -> None:
    assert yaml_editor.is_loaded(tmp_path / "exports.yml", text)
    assert yaml_editor.complaints(text) == []
