"""Mutated exports.yml: each file loads, or the error has one line for each problem and place."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz_cases import FEW, MANY, only_clear_errors
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import config

VALID: dict[str, Any] = {
    "destinations": {
        "managed": {
            "sftp": {
                "host": "sftp.example.org",
                "port": 22,
                "username": "u",
                "private_key": "~/.ssh/id",
                "passphrase": "p",
                "known_hosts": "~/.ssh/known_hosts",
                "timeout": "60s",
            }
        },
        "archive": {"directory": "/srv/exports"},
    },
    "defaults": {
        "destination": ["managed", "archive"],
        "timezone": "Europe/Amsterdam",
        "at": "06:00",
        "settle": "15m",
        "directory": "{brand}/{window_start:%Y}",
        "delimiter": ";",
        "labels": "nl",
        "null": "NULL",
        "encoding": "latin-1",
        "timestamp_format": "%Y-%m-%d %H:%M:%S",
        "activity_fields": [
            "customer_id",
            {"column": "a", "as": "b", "hash": "sha256", "salt": "s"},
        ],
        "additional_fields": {"activities": ["url"], "broadcasts": []},
        "activity_types": ["open", "click"],
    },
    "exports": [
        {"brand": "A"},
        {"brand": "A", "interval": "hourly", "extension": "txt"},
        {"brand": "*", "interval": "monthly", "start": "2026-01-31", "empty": "skip"},
    ],
    "state": "sqlite:///state/ledger.db",
    "outbox": "outbox",
    "keep_local": "14d",
}
WORDS = st.sampled_from(
    [
        "",
        " ",
        "default",
        "all",
        "names",
        "*",
        "A",
        "0",
        "-1",
        "99999999999999999999",
        "1e999",
        "~",
        "utf-7",
        "utf-32",
        "idna",
        "hex",
        "mbcs",
        "rot13",
        "base64",
        "utf_16_be",
        "24:00",
        "15m",
        "0s",
        "99999d",
        "{brand}",
        "{window_end:%s}",
        "{window_start:%}",
        "{",
        "%",
        "%-",
        "%z%Z",
        "�",
        "\x00",
        "\x85",
        "\u202e",
        "é" * 300,
        "{{ env_var('HOME') }}",
        "{{",
        "{% raw %}",
        "2026-02-30",
        "~nobody/x",
        "/",
        "//",
        "..",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://",
        "mysql://x",
        "\t",
        "\r\n",
        '"',
        "'",
        "é",
        "🎉",
        "Europe",
        "localtime",
        "posixrules",
        "../UTC",
        "sha256",
        "NaN",
    ]
)
VALUES = st.recursive(
    st.one_of(WORDS, st.text(max_size=8), st.integers(), st.none(), st.booleans(), st.floats()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(WORDS, st.text(max_size=4)), inner)
    ),
    max_leaves=4,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid file with some values replaced, dropped, moved or added."""
    document = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(1, 4))):
        places = list(_places(document))
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        match draw(st.sampled_from(["replace", "replace", "drop", "add", "move"])):
            case "replace":
                holder[key] = draw(VALUES)
            case "drop":
                del holder[key]
            case "add" if isinstance(holder, dict):
                holder[draw(st.one_of(WORDS, st.sampled_from(NAMES)))] = draw(VALUES)
            case "add":
                holder.insert(0, draw(VALUES))
            case _:
                other, at = places[draw(st.integers(0, len(places) - 1))]
                holder[key] = copy.deepcopy(other[at])
    return yaml.safe_dump(document, allow_unicode=draw(st.booleans())).encode("utf-8", "replace")


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A valid file with some bytes of it replaced, dropped, doubled or added."""
    data = bytearray(yaml.safe_dump(VALID).encode())
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data) - 1))
        size = draw(st.integers(0, 12))
        data[at : at + size] = draw(
            st.one_of(
                st.binary(max_size=6),
                st.just(bytes(data[at : at + size]) * 2),
                st.sampled_from(
                    [b"&a ", b"*a", b"<<: *a", b"!!int ", b"|\n", b"{{", b"- ", b"? ", b": "]
                ),
            )
        )
    return bytes(data)


def _places(holder: Any) -> Any:  # noqa: ANN401 - any of YAML
    keys = holder if isinstance(holder, dict) else range(len(holder))
    for key in keys:
        yield holder, key
        if isinstance(holder[key], dict | list):
            yield from _places(holder[key])


NAMES = sorted({str(key) for _, key in _places(VALID)})
FILES = st.one_of(mutated(), broken(), st.binary(max_size=40))


def check(folder: Path, data: bytes) -> None:
    path = folder / "exports.yml"
    path.write_bytes(data)
    with only_clear_errors() as errors:
        loaded = config.read(path)
        repr(loaded)
    for error in errors:
        assert error.exit_code == 2
        assert all(str(path) in line for line in str(error).splitlines()), error


def test_the_starting_file_is_valid(tmp_path: Path) -> None:
    check(tmp_path, yaml.safe_dump(VALID).encode())
    assert len(config.read(tmp_path / "exports.yml").exports) == 3


@FEW
@given(FILES)
def test_a_mutated_file_loads_or_is_refused_with_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    check(tmp_path_factory.getbasetemp(), data)


@pytest.mark.faults
@MANY
@given(FILES)
def test_a_thousand_mutated_files_load_or_are_refused_with_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    check(tmp_path_factory.getbasetemp(), data)
