"""The JSON Schema of exports.yml, with which editors complete and check it.

It is built from the models that check the file. What it refuses, they refuse; only they check the
rules that involve more than one key.
"""

import ast
import inspect
import json
from collections.abc import Iterator
from datetime import time, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from orchestrator.config import Top
from orchestrator.config.exports import GROUPS
from orchestrator.config.values import Strict

# A variable may give any value its text. The definition has no description: editors would show it
# next to the description of each key.
_VARIABLE = {"type": "string", "pattern": r"\{\{ *env_var\(.+\) *\}\}"}
# The values of the file are read as text; pydantic takes these words for a boolean.
_WORDS = ("true", "false", "yes", "no", "on", "off", "t", "f", "y", "n")
_ANY_CASE = "|".join("".join(f"[{c.upper()}{c}]" for c in word) for word in _WORDS)
_AS_TEXT: dict[str, list[JsonSchemaValue]] = {
    "boolean": [
        {"type": "string", "pattern": f"^({_ANY_CASE}|[01])$"},
        {"type": "integer", "minimum": 0, "maximum": 1},
    ],
    "integer": [{"type": "string", "pattern": "^[0-9]+$"}],
}


def schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of the file as people write it."""
    made = Top.model_json_schema(schema_generator=_Schema)
    made = _as_written(made)
    definitions, keys = made["$defs"], made["properties"]
    definitions["Variable"] = _VARIABLE
    export = definitions["Export"]
    export["properties"] = dict(_in_one_mapping(export["properties"], definitions))
    export["required"] = ["brand"]  # all other keys have defaults
    inherited = export["properties"].keys() - {"brand"}
    pointers = {key: {"$ref": f"#/$defs/Export/properties/{key}"} for key in sorted(inherited)}
    keys["defaults"] |= {"additionalProperties": False, "properties": pointers}
    keys["exports"]["minItems"] = 1
    for key in keys.keys() - {*made["required"]}:  # a key without a value has its default
        keys[key] = _any_of(keys[key], {"type": "null"})
    return {"$schema": _Schema.schema_dialect, **made, "title": "exports.yml"}


def _in_one_mapping(
    properties: dict[str, JsonSchemaValue], definitions: dict[str, Any]
) -> Iterator[tuple[str, JsonSchemaValue]]:
    """Yield the keys of an export, with the keys of its models in the place of each model."""
    for key, about in properties.items():
        if key in GROUPS:
            yield from definitions.pop(GROUPS[key].__name__)["properties"].items()
        else:
            yield key, about


def text() -> str:
    """Return the schema as a JSON document."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


class _Schema(GenerateJsonSchema):
    """Pydantic's generator, with defaults as people write them, and a description of each key.

    Pydantic's own `use_attribute_docstrings` would read the source of the models in every command.
    """

    def model_schema(self, schema: Any) -> JsonSchemaValue:  # noqa: ANN401 - pydantic's own
        """Return the schema of a model, with the docstring of each key as its description."""
        made = super().model_schema(schema)
        model = schema["cls"]
        for name, text in _docstrings(model).items():
            made["properties"][model.model_fields[name].alias or name]["description"] = text
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401 - pydantic's own
        """Omit titles: they repeat the keys."""
        del schema
        return False

    def encode_default(self, dft: Any) -> Any:  # noqa: ANN401 - any value
        """Return a default as people write it."""
        match dft:
            case timedelta():
                units = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}
                return next(
                    f"{dft // size}{unit}" for unit, size in units.items() if not dft % size
                )
            case time():
                return f"{dft:%H:%M}"
            case ZoneInfo():
                return dft.key
            case Path():
                return str(dft)
        return super().encode_default(dft)


@cache
def _docstrings(model: type[Strict]) -> dict[str, str]:
    """Return the docstrings of a model's fields, by field."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__[: model.__mro__.index(Strict)]):
        (parsed,) = ast.parse(inspect.getsource(each)).body
        assert isinstance(parsed, ast.ClassDef)  # noqa: S101 - it is the source of a class
        for key, text in pairwise(parsed.body):
            match key, text:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(docstring))):
                    found[name] = inspect.cleandoc(docstring)
    return found


def _as_written(node: Any) -> Any:  # noqa: ANN401 - any of JSON
    """Allow each value in every form that the reader of the file accepts."""
    if isinstance(node, list):
        return [_as_written(item) for item in node]
    if not isinstance(node, dict):
        return node
    left_out = ("title", "format", "writeOnly")  # of no use to an editor
    node = {k: _as_written(v) for k, v in node.items() if k not in left_out or isinstance(v, dict)}
    others = _AS_TEXT.get(str(node.get("type")), [])
    if others or node.keys() & {"enum", "const", "pattern"}:
        return _any_of(node, *others, {"$ref": "#/$defs/Variable"})
    if node.get("type") == "string":  # a number without quotes is text too
        node["type"] = ["string", "number"]
    return _any_of(node) if "anyOf" in node else node


def _any_of(node: JsonSchemaValue, *others: JsonSchemaValue) -> JsonSchemaValue:
    """Return a flat choice between schemas, with the description of the node above it."""
    kept = ("description", "default", "examples")
    about: JsonSchemaValue = {key: node[key] for key in kept if key in node}
    rest: JsonSchemaValue = {k: value for k, value in node.items() if k not in about}
    choices = [*rest.get("anyOf", [rest]), *others]
    return {**about, "anyOf": [each for item in choices for each in item.get("anyOf", [item])]}
