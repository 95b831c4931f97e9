"""The JSON Schema of exports.yml: editors use it to complete keys and to check values.

It is built from the models that check the file. The models refuse everything that the schema
refuses. In addition they check rules that involve several keys.
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

# Any value may come from a variable. The definition has no description, because editors would show
# it next to the description of each key.
_VARIABLE = {"type": "string", "pattern": r"\{\{ *env_var\(.+\) *\}\}"}
# Values are read as text, and pydantic converts these words to a boolean.
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
    root = _as_written(Top.model_json_schema(schema_generator=_Schema))
    definitions, keys = root["$defs"], root["properties"]
    definitions["Variable"] = _VARIABLE
    export = definitions["Export"]
    export["properties"] = dict(_in_one_mapping(export["properties"], definitions))
    export["required"] = ["brand"]  # all other keys have defaults
    inherited = export["properties"].keys() - {"brand"}
    pointers = {key: {"$ref": f"#/$defs/Export/properties/{key}"} for key in sorted(inherited)}
    keys["defaults"] |= {"additionalProperties": False, "properties": pointers}
    keys["exports"]["minItems"] = 1
    for key in keys.keys() - {*root["required"]}:  # a key without a value has its default
        keys[key] = _any_of(keys[key], {"type": "null"})
    return {"$schema": _Schema.schema_dialect, **root, "title": "exports.yml"}


def _in_one_mapping(
    properties: dict[str, JsonSchemaValue], definitions: dict[str, Any]
) -> Iterator[tuple[str, JsonSchemaValue]]:
    """Yield the keys of an export. The keys of a model in `GROUPS` replace the key of the model."""
    for key, about in properties.items():
        if key in GROUPS:
            yield from definitions.pop(GROUPS[key].__name__)["properties"].items()
        else:
            yield key, about


def text() -> str:
    """Return the schema as a JSON document."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


class _Schema(GenerateJsonSchema):
    """Pydantic's generator, with a description of each key, and defaults as people write them.

    The option `use_attribute_docstrings` of pydantic would slow down every command: it parses the
    source of the models when they are imported.
    """

    def model_schema(self, schema: Any) -> JsonSchemaValue:  # noqa: ANN401 - pydantic's own
        """Return the schema of a model, with the docstring of each key as its description."""
        found = super().model_schema(schema)
        model = schema["cls"]
        for name, text in _docstrings(model).items():
            found["properties"][model.model_fields[name].alias or name]["description"] = text
        return found

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
    """Return a part of the schema that also allows the other ways in which people write a value.

    For example `yes` for a boolean, a number without quotes for text, and a variable for anything.
    """
    if isinstance(node, list):
        return [_as_written(item) for item in node]
    if not isinstance(node, dict):
        return node
    useless = ("title", "format", "writeOnly")  # for an editor; as mappings they are keys of ours
    node = {k: _as_written(v) for k, v in node.items() if k not in useless or isinstance(v, dict)}
    others = _AS_TEXT.get(str(node.get("type")), [])
    if others or node.keys() & {"enum", "const", "pattern"}:
        return _any_of(node, *others, {"$ref": "#/$defs/Variable"})
    if node.get("type") == "string":  # a number without quotes is text too
        node["type"] = ["string", "number"]
    return _any_of(node) if "anyOf" in node else node


def _any_of(node: JsonSchemaValue, *others: JsonSchemaValue) -> JsonSchemaValue:
    """Return a choice between a node and other schemas, without choices inside the choice.

    The description, default and examples of the node become those of the choice.
    """
    kept = ("description", "default", "examples")
    about: JsonSchemaValue = {key: node[key] for key in kept if key in node}
    rest: JsonSchemaValue = {k: value for k, value in node.items() if k not in about}
    choices = [*rest.get("anyOf", [rest]), *others]
    return {**about, "anyOf": [each for item in choices for each in item.get("anyOf", [item])]}
