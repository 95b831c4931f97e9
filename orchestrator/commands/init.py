"""Init: write the files that a new folder needs before its first export."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.commands import template
from orchestrator.config import schema as config_schema
from orchestrator.config.exports import GROUPS, Export
from orchestrator.errors import UsageError
from orchestrator.warehouse import project

NEXT_STEPS = (
    "  orchestrate load DIR           load raw files, <table>.parquet|csv|jsonl",
    "  orchestrate preview --brand B  show the first rows of both files",
    "  orchestrate daily --dry-run    show what would be delivered, and where",
    "  orchestrate check              find out now what would fail tonight",
    "  orchestrate daily              deliver",
)

DELIVERED = "delivered"
"""The folder that the example has as its destination."""


@dataclass(frozen=True)
class InitResult:
    """The files that were written."""

    written: list[Path]
    exit_code: int = 0


def write_folder(folder: Path) -> InitResult:
    """Write exports.yml, its schema and profiles/profiles.yml to a folder.

    Raises UsageError, and writes nothing, if one of them exists or the folder cannot be created.
    """
    texts = {
        folder / "exports.yml": example(),
        folder / "exports.schema.json": config_schema.text(),
        folder / "profiles" / "profiles.yml": project.own_profiles(),
    }
    for place in (folder, folder / "profiles"):
        nearest = next(each for each in (place, *place.parents) if os.path.lexists(each))
        if not nearest.is_dir():
            raise UsageError(f"{nearest} is not a folder; nothing was written")
    if found := [str(path) for path in texts if os.path.lexists(path)]:
        raise UsageError(f"{', '.join(found)}: exists already; nothing was written")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    (folder / DELIVERED).mkdir(exist_ok=True)  # a delivery never creates a destination's folder
    return InitResult(list(texts))


def example() -> str:
    """Return an exports.yml that works, with all other keys and their defaults as comments."""
    schema = config_schema.schema()
    keys = {
        name: each["properties"] for name, each in schema["$defs"].items() if "properties" in each
    }
    export = dict(keys["Export"])
    brand = export.pop("brand")
    # One group for each class: its docstring is the heading of the keys that it declares itself.
    groups = {
        str(model.__doc__): {key: export[key] for key in model.__annotations__ if key in export}
        for model in (Export, *reversed(GROUPS.values()))
    }
    return template("exports.yml", shown=_shown).render(
        top=schema["properties"],
        line=keys["DestinationLine"],
        sftp=keys["Sftp"],
        brand=brand,
        groups={heading: own for heading, own in groups.items() if own},
    )


def _shown(about: Mapping[str, Any]) -> str:
    """Return the default of a key, or an example if there is no default, as YAML on one line."""
    (example,) = about.get("examples", [None])
    value = example if about.get("default") is None else about["default"]
    if isinstance(value, str):
        return value if re.fullmatch("[A-Za-z0-9_~/.-]+", value) else json.dumps(value)
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False)
    return text.removesuffix("...\n").rstrip("\n")
