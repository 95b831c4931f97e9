"""Reads YAML files with the line of each key, so that errors can name the line.

In exports.yml every scalar is read as text, and the models convert it to its type. YAML 1.1 would
read `brand: NO` as false, `at: 12:00` as 720 and the key `null` as None. Text may contain dbt's
`{{ env_var('NAME', 'default') }}`.
"""

import functools
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from orchestrator.errors import ConfigError, UnsetError, escaped

if TYPE_CHECKING:
    import jinja2
    from jinja2 import nodes

Location: TypeAlias = tuple[str | int, ...]
"""The keys and list indexes of a value, from the top of the file."""

_LARGEST = 5_000_000  # bytes of a file
_MOST_VALUES = 200_000  # after aliases are replaced: ten levels of aliases can be a billion values
_ALLOWED_JINJA = "the only Jinja allowed here is {{ env_var('NAME', 'default') }}"
_TAGS = ("str", "int", "float", "bool", "null", "timestamp", "value", "merge", "map", "seq")


@dataclass(frozen=True)
class Source:
    """The values of one YAML file, and the line of each key.

    `unset` has the locations of values that name a variable which is not set and not needed. Such
    a value is the text in the file.
    """

    path: Path
    values: dict[str, Any] = field(repr=False)  # they contain secrets
    lines: dict[Location, int] = field(repr=False)
    unset: frozenset[Location] = frozenset()

    def line(self, location: Location) -> int:
        """Return the line (from 1) of a key, or of the nearest key above it."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)


def location_text(location: Location, values: Any = None) -> str:  # noqa: ANN401 - any of YAML
    """Return a location as errors show it, such as `exports[0].brand`.

    If the `values` of the file are given, a list item is shown by its `name` instead of its index,
    as in `models[activities_daily]`: the items of dbt's lists have names.
    """
    text = ""
    for part in location:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            values = None
        name = values.get("name") if isinstance(values, dict) else None
        text += f"[{name or part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def read_yaml(path: Path, *, secrets: bool = True, typed: bool = False) -> Source:
    """Read a YAML file that contains one mapping.

    Scalars are read as text, with environment variables filled in. If `secrets` is false, values
    that only a delivery needs may name variables that are not set. If `typed`, scalars get the
    types of YAML and Jinja stays text, as dbt reads its own files.

    Raises ConfigError with file and line if the file is not YAML, repeats a key, is too large, or
    names an environment variable that is not set.
    """
    try:
        if (size := path.stat().st_size) > _LARGEST:
            raise ConfigError(f"{path}: {size:,} bytes; the limit is {_LARGEST:,}")
        root = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{path}:1: expected keys and values, such as 'exports:'")
        reader = _Reader(path, secrets=secrets, typed=typed)
        return Source(path, reader.mapping(root, ()), reader.lines, frozenset(reader.unset))
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise unreadable(path, error) from None  # the message of the parser quotes the file


def render(text: str) -> str:
    """Return the text with each `{{ env_var('NAME', 'default') }}` replaced by its value.

    Raises UnsetError if a variable is not set, ConfigError if the text contains other Jinja.
    """
    if "{{" not in text and "{%" not in text:
        return text
    from jinja2 import TemplateError, nodes  # noqa: PLC0415 - most files name no variables

    try:
        body = _jinja().parse(text).body
    except (TemplateError, RecursionError):
        raise ConfigError(_ALLOWED_JINJA) from None
    if not all(isinstance(output, nodes.Output) for output in body):
        raise ConfigError(_ALLOWED_JINJA)
    return "".join(_filled(part) for output in body for part in output.iter_child_nodes())


def unreadable(path: Path, error: Exception) -> ConfigError:
    """Return the error for a file that is not YAML. It never quotes the file: that has secrets."""
    if isinstance(error, RecursionError):
        return ConfigError(f"{path}: values are nested too deeply")
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        return ConfigError(f"{where}: this is not YAML: {_problem(error)}")
    return ConfigError(f"{path}: cannot be read: {' '.join(str(error).split())}")


def _problem(error: yaml.MarkedYAMLError) -> str:
    """Return the parser's message without the names that it quotes, which may be secrets.

    For example, the parser reads a password that begins with `*` as the name of an alias.
    """
    problem = str(error.problem)
    quotes_a_name = re.search("alias|anchor|tag|directive", problem)
    return problem.split("'", maxsplit=1)[0].strip() if quotes_a_name else problem


@dataclass
class _Reader:
    """Converts the nodes of one YAML file to values, and collects the line of each key."""

    path: Path
    secrets: bool
    typed: bool
    lines: dict[Location, int] = field(default_factory=dict)
    unset: set[Location] = field(default_factory=set)
    _open: set[int] = field(default_factory=set)  # ids of the nodes around the current one
    _count: int = 0

    def mapping(self, node: yaml.MappingNode, location: Location) -> dict[Any, Any]:
        """Return the keys and values of a mapping, including those that it merges by `<<`."""
        result: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(key_node, "a key must be text")
            name = str(key_node.value)
            if key_node.tag == "tag:yaml.org,2002:merge":
                is_list = isinstance(value_node, yaml.SequenceNode)
                for base in value_node.value if is_list else [value_node]:
                    inherited = self._value(base, location)
                    if not isinstance(inherited, dict):
                        raise self._error(base, "'<<' takes a mapping")
                    merged = {**inherited, **merged}
                continue
            key = _typed(key_node) if self.typed else name
            if key in result:
                raise self._error(key_node, f"the key '{name}' is given twice")
            self.lines[(*location, name)] = key_node.start_mark.line + 1
            result[key] = self._value(value_node, (*location, name))
        return {**merged, **result}

    def _value(self, node: yaml.Node, location: Location) -> Any:  # noqa: ANN401 - any of YAML
        self._count += 1
        if self._count > _MOST_VALUES:
            raise self._error(
                node, f"more than {_MOST_VALUES:,} values; are there aliases in aliases?"
            )
        if node.tag.removeprefix("tag:yaml.org,2002:") not in _TAGS:
            raise self._error(node, "a '!' here begins an unknown tag; quote the text")
        self.lines.setdefault(location, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return _typed(node) if self.typed else self._text(node, location)
        if id(node) in self._open:
            raise self._error(node, "this alias contains itself")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, location)
            return [self._value(item, (*location, i)) for i, item in enumerate(node.value)]
        finally:
            self._open.remove(id(node))

    def _text(self, node: yaml.ScalarNode, location: Location) -> str | None:
        if node.tag == "tag:yaml.org,2002:null":
            return None
        try:
            text = render(node.value)
        except ConfigError as error:
            is_needed = self.secrets or not _is_for_delivery(location)
            if is_needed or not isinstance(error, UnsetError):
                raise self._error(node, f"{location_text(location)}: {error}") from error
            self.unset.add(location)
            return str(node.value)
        # A surrogate: an escape in the file, or a byte of a variable that is not UTF-8 (PEP 383).
        if re.search("[\0\ud800-\udfff]", text):
            message = "the text contains a NUL, or a character that is not valid Unicode"
            raise self._error(node, f"{location_text(location)}: {message}")
        return text

    def _error(self, node: yaml.Node, message: str) -> ConfigError:
        return ConfigError(f"{self.path}:{node.start_mark.line + 1}: {escaped(message)}")


def _typed(node: yaml.ScalarNode) -> Any:  # noqa: ANN401 - any scalar of YAML
    return yaml.constructor.SafeConstructor().construct_object(node)


def _is_for_delivery(location: Location) -> bool:
    if location[:1] == ("destinations",):
        return location[-1] != "retention"  # prune needs it, and delivers nothing
    return location[:1] == ("notify",) or location[-1] in ("salt", "sign_passphrase")


@functools.cache
def _jinja() -> "jinja2.Environment":
    import jinja2  # noqa: PLC0415 - most files name no variables

    return jinja2.Environment(keep_trailing_newline=True)  # noqa: S701 - it parses, never renders


def _filled(part: "nodes.Node") -> str:
    """Return the text of one part of the Jinja: literal text, or the value of a variable."""
    from jinja2 import nodes  # noqa: PLC0415 - most files name no variables

    if isinstance(part, nodes.TemplateData):
        return part.data
    if not isinstance(part, nodes.Call) or getattr(part.node, "name", "") != "env_var":
        raise ConfigError(_ALLOWED_JINJA)
    if part.kwargs or part.dyn_args or part.dyn_kwargs:
        raise ConfigError(_ALLOWED_JINJA)
    match part.args:
        case [nodes.Const(value=str(name))]:
            value = os.environ.get(name)
        case [nodes.Const(value=str(name)), nodes.Const(value=str(default))]:
            value = os.environ.get(name, default)
        case _:
            raise ConfigError(_ALLOWED_JINJA)
    if value is None:
        raise UnsetError(f"the environment variable {name} is not set; set it, or give a default")
    return value
