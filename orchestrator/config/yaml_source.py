"""YAML as text, each value with its line.

Plain scalars stay text, so that `brand: NO`, `at: 12:00` and the key `null` mean what they say
(YAML 1.1 reads them as false, 720 and None); the models above give each value its type.
Text may use dbt's own `{{ env_var('NAME', 'default') }}`.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from orchestrator.errors import ConfigError, UnsetError, on_one_line

if TYPE_CHECKING:
    from jinja2 import nodes

Location: TypeAlias = tuple[str | int, ...]

_LARGEST = 5_000_000  # bytes of a file
_TAGS = ("str", "int", "float", "bool", "null", "timestamp", "value", "merge", "map", "seq")
_MOST_VALUES = 200_000  # with every alias written out


@dataclass(frozen=True)
class Source:
    """The values of one YAML file, and the line of each key.

    At the `unset` ones stands the text of the file: a variable is not set, and need not be.
    """

    path: Path
    values: dict[str, Any] = field(repr=False)  # they hold secrets
    lines: dict[Location, int] = field(repr=False)
    unset: frozenset[Location] = frozenset()

    def line(self, location: Location) -> int:
        """Return the line (from 1) of a key, or of the nearest one above it."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)


def named(location: Location) -> str:
    """Return a key as errors name it, such as `exports[0].brand`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")


def read(path: Path, *, secrets: bool = True) -> Source:
    """Read one YAML mapping.

    Without `secrets`, what only a delivery needs may name variables that are not set.

    Raises ConfigError with file and line where it is no YAML, repeats a key, is larger than such
    a file can be, or names an environment variable that is not set.
    """
    try:
        if (size := path.stat().st_size) > _LARGEST:
            raise ConfigError(f"{path}: {size:,} bytes; no more than {_LARGEST:,} are read")
        text = path.read_text(encoding="utf-8-sig")
        return _source(path, yaml.compose(text, Loader=yaml.SafeLoader), secrets=secrets)
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise unreadable(path, error) from None  # its words quote the file


def unreadable(path: Path, error: Exception) -> ConfigError:
    """Return the error for a file that is no YAML, without what stands in it."""
    if isinstance(error, RecursionError):
        return ConfigError(f"{path}: values are nested too deeply")
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        return ConfigError(f"{where}: this is not YAML: {_words(error)}")
    return ConfigError(f"{path}: cannot be read: {' '.join(str(error).split())}")


def _source(path: Path, root: yaml.Node | None, *, secrets: bool) -> Source:
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path}:1: expected keys and values, such as 'exports:'")
    lines: dict[Location, int] = {}
    unset: set[Location] = set()
    values = _value(root, (), _Reader(path, lines, frozenset(), count(1), unset, secrets))
    return Source(path, values, lines, frozenset(unset))


def _words(error: yaml.MarkedYAMLError) -> str:
    """Return what the parser says, without a name that it quotes: a secret may look like one."""
    problem = str(error.problem)
    is_name = re.search("alias|anchor|tag|directive", problem)
    return problem.split("'", maxsplit=1)[0].strip() if is_name else problem


def render(text: str) -> str:
    """Fill in `{{ env_var('NAME', 'default') }}`.

    Raises UnsetError where a variable is not set, else ConfigError where the text holds anything
    else of Jinja.
    """
    if "{{" not in text and "{%" not in text:
        return text
    return filled(text)


@dataclass(frozen=True)
class _Reader:
    path: Path
    lines: dict[Location, int]
    open_nodes: frozenset[int]
    numbers: Iterator[int]
    unset: set[Location]
    secrets: bool

    def error(self, node: yaml.Node, message: str) -> ConfigError:
        return ConfigError(f"{self.path}:{node.start_mark.line + 1}: {on_one_line(message)}")


def _value(node: yaml.Node, location: Location, reader: _Reader) -> Any:  # noqa: ANN401 - YAML
    if id(node) in reader.open_nodes:
        raise reader.error(node, "this alias holds itself")
    if next(reader.numbers) > _MOST_VALUES:
        raise reader.error(
            node, f"more than {_MOST_VALUES:,} values; are there aliases in aliases?"
        )
    if node.tag.removeprefix("tag:yaml.org,2002:") not in _TAGS:
        raise reader.error(node, "a '!' here begins a tag, and none is known; quote the text")
    reader.lines.setdefault(location, node.start_mark.line + 1)
    inner = replace(reader, open_nodes=reader.open_nodes | {id(node)})
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
        text = render(str(node.value))
        if re.search("[\0\ud800-\udfff]", text):  # of a variable too, where it is no UTF-8
            raise ConfigError("the text holds a NUL, or what is no character of Unicode")  # noqa: TRY301 - the same words around it
    except ConfigError as error:
        if isinstance(error, UnsetError) and not reader.secrets and _is_for_delivery(location):
            reader.unset.add(location)
            return str(node.value)
        raise reader.error(node, f"{named(location)}: {error}") from error
    return text


def _is_for_delivery(location: Location) -> bool:
    if location[:1] == ("destinations",):
        return location[-1] != "retention"  # it says what is old, with or without a delivery
    return location[:1] == ("notify",) or location[-1:] == ("salt",)


def filled(text: str) -> str:
    """Return the text with the values of the variables.

    Raises UnsetError where a variable is not set, else ConfigError where the text holds anything
    else of Jinja.
    """
    from jinja2 import Environment, TemplateError  # noqa: PLC0415 - most files have no variables

    parser = Environment(keep_trailing_newline=True)  # noqa: S701 - it parses, and renders nothing
    try:
        body = parser.parse(text).body
        parts = [part for output in body for part in _parts(output)]
        return "".join(map(_filled, parts))
    except (TemplateError, RecursionError, _NoEnvVarError):
        raise ConfigError("of Jinja only {{ env_var('NAME', 'default') }} is known here") from None


class _NoEnvVarError(Exception):
    pass


def _parts(output: "nodes.Node") -> "list[nodes.Expr]":
    from jinja2 import nodes  # noqa: PLC0415 - as above

    if not isinstance(output, nodes.Output):
        raise _NoEnvVarError
    return output.nodes


def _filled(part: "nodes.Expr") -> str:
    from jinja2 import nodes  # noqa: PLC0415 - as above

    if isinstance(part, nodes.TemplateData):
        return part.data
    if not isinstance(part, nodes.Call) or getattr(part.node, "name", "") != "env_var":
        raise _NoEnvVarError
    given = [argument.value for argument in part.args if isinstance(argument, nodes.Const)]
    if len(given) != len(part.args) or part.kwargs or part.dyn_args or part.dyn_kwargs:
        raise _NoEnvVarError
    if len(given) not in (1, 2) or not all(isinstance(value, str) for value in given):
        raise _NoEnvVarError
    name, default = given[0], given[1] if given[1:] else None
    value = os.environ.get(name, default)
    if value is None:
        raise UnsetError(f"the environment variable {name} is not set; set it, or give a default")
    return value
