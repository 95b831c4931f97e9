"""The JSON Schema is never stricter than the loader: an editor accepts every file that loads."""

from pathlib import Path
from typing import Any

import pytest
import yaml
import yaml_editor
from fuzz_cases import FEW, MANY
from hypothesis import given
from test_exports_yml import VALID, mutated


def check(folder: Path, data: bytes) -> bool:
    """Return whether the loader accepts a file; if it does, assert that an editor does too."""
    text = yaml.safe_dump(_in_quotes(yaml.safe_load(data)), allow_unicode=True)
    loaded = yaml_editor.is_loaded(folder / "exports.yml", text)
    if loaded:
        assert yaml_editor.complaints(text) == [], text
    return loaded


def _in_quotes(value: Any) -> Any:  # noqa: ANN401 - any of YAML
    """Return the document with true and false as text: an editor wants a brand `true` quoted."""
    if isinstance(value, dict):
        return {key: _in_quotes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_in_quotes(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else value


def test_the_starting_file_is_valid_for_both(tmp_path: Path) -> None:
    assert check(tmp_path, yaml.safe_dump(VALID).encode())


@FEW
@given(mutated())
def test_an_editor_accepts_what_loads(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    check(tmp_path_factory.getbasetemp(), data)


@pytest.mark.faults
@MANY
@given(mutated())
def test_an_editor_accepts_what_loads_of_a_thousand_files(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    check(tmp_path_factory.getbasetemp(), data)
