"""YAML as text, each value with its line.

Plain scalars stay text, so that `brand: NO`, `at: 12:00` and the key `null` mean what they say
(YAML 1.1 reads them as false, 720 and None); the models above give each value its type.
Text may use dbt's own `{{ env_var('NAME', 'default') }}`.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from orchestrator.errors import ConfigError

Location: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """The values of one YAML file, and the line of each key."""

    path: Path
    values: dict[str, Any] = field(repr=False)  # they hold secrets
    lines: dict[Location, int] = field(repr=False)

    def line(self, location: Location) -> int:
        """Return the line (from 1) of a key, or of the nearest one above it."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)


def read(path: Path) -> Source:
    """Read one YAML mapping.

    Raises ConfigError with file and line where it is no YAML, repeats a key, or names an
    environment variable that is not set.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: this is not YAML: {_words(error)}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: this is not YAML: {error}") from error
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path}:1: expected keys and values, such as 'exports:'")
    lines: dict[Location, int] = {}
    values = _value(root, (), _Reader(path, lines, frozenset()))
    return Source(path, values, lines)


def _words(error: yaml.MarkedYAMLError) -> str:
    """Return what the parser says, without an alias that it quotes: a secret may look like one."""
    problem = str(error.problem)
    return problem.split("'", maxsplit=1)[0].strip() if "alias" in problem else problem


def render(text: str) -> str:
    """Fill in `{{ env_var('NAME', 'default') }}`.

    Raises ConfigError where a variable is not set, or the text holds anything else of Jinja.
    """
    if "{{" not in text and "{%" not in text:
        return text
    try:
        return _JINJA.from_string(text).render(env_var=_env_var)
    except _MissingVariableError as error:
        raise ConfigError(
            f"the environment variable {error} is not set; set it, or give a default"
        ) from error
    except (TemplateError, TypeError) as error:
        raise ConfigError(f"only {{{{ env_var('NAME', 'default') }}}} is known: {error}") from error


@dataclass(frozen=True)
class _Reader:
    path: Path
    lines: dict[Location, int]
    open_nodes: frozenset[int]

    def error(self, node: yaml.Node, message: str) -> ConfigError:
        return ConfigError(f"{self.path}:{node.start_mark.line + 1}: {message}")


def _value(node: yaml.Node, location: Location, reader: _Reader) -> Any:  # noqa: ANN401 - YAML
    if id(node) in reader.open_nodes:
        raise reader.error(node, "this alias holds itself")
    reader.lines.setdefault(location, node.start_mark.line + 1)
    inner = _Reader(reader.path, reader.lines, reader.open_nodes | {id(node)})
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, location, inner)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*location, i), inner) for i, item in enumerate(node.value)]
    if node.tag == "tag:yaml.org,2002:null":
        return None
    return _render(node, location, reader)


def _mapping(node: yaml.MappingNode, location: Location, reader: _Reader) -> dict[str, Any]:
    result: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise reader.error(key_node, "a key must be text")
        key = str(key_node.value)
        if key_node.tag == "tag:yaml.org,2002:merge":
            bases = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            for base in bases:
                inherited = _value(base, location, reader)
                if not isinstance(inherited, dict):
                    raise reader.error(base, "'<<' takes a mapping")
                merged = {**inherited, **merged}
            continue
        if key in result:
            raise reader.error(key_node, f"the key '{key}' stands here twice")
        reader.lines[(*location, key)] = key_node.start_mark.line + 1
        result[key] = _value(value_node, (*location, key), reader)
    return {**merged, **result}


def _render(node: yaml.Node, location: Location, reader: _Reader) -> str:
    try:
        return render(str(node.value))
    except ConfigError as error:
        name = ".".join(str(part) for part in location)
        raise reader.error(node, f"{name}: {error}") from error


class _MissingVariableError(Exception):
    pass


def _env_var(name: str, default: str | None = None) -> str:
    value = os.environ.get(name, default)
    if value is None:
        raise _MissingVariableError(name)
    return value


_JINJA = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
