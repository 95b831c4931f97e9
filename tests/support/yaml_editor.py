"""Checks exports.yml as an editor does: YAML 1.2 with its core schema, and the JSON Schema."""

import re
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # has no types

from orchestrator import config
from orchestrator.config import schema as config_schema
from orchestrator.errors import ConfigError

VALIDATOR = Draft202012Validator(config_schema.schema())


class _Core(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - as in PyYAML, filled below


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | float:
    text = str(loader.construct_scalar(node))
    return int(text) if re.fullmatch("[-+]?[0-9]+", text) else float(text)


for _tag, _pattern in {
    "null": "~|null|Null|NULL|",
    "bool": "true|True|TRUE|false|False|FALSE",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
    "merge": "<<",
}.items():
    _Core.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^({_pattern})$"), None)
_Core.add_constructor("tag:yaml.org,2002:float", _number)


def read(text: str) -> Any:  # noqa: ANN401 - YAML
    """Return the document as JSON has it: every key is text."""
    return _with_text_keys(yaml.load(text, _Core))  # noqa: S506 - a SafeLoader


def complaints(text: str) -> list[str]:
    """Return the errors that an editor shows."""
    return [error.message for error in VALIDATOR.iter_errors(read(text))]


def is_loaded(path: Path, text: str) -> bool:
    """Write the file; return whether the loader accepts it."""
    path.write_text(text, encoding="utf-8")
    try:
        config.read(path)
    except ConfigError:
        return False
    return True


def _with_text_keys(value: Any) -> Any:  # noqa: ANN401 - YAML
    if isinstance(value, dict):
        return {
            "null" if key is None else str(key): _with_text_keys(item)
            for key, item in value.items()
        }
    return [_with_text_keys(item) for item in value] if isinstance(value, list) else value
