"""Init: the files that a folder needs before its first export."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from orchestrator.commands import templates
from orchestrator.config import schema as config_schema
from orchestrator.config.exports import GROUPS, Export
from orchestrator.errors import UsageError
from orchestrator.warehouse import project

NEXT = """\
  orchestrate load DIR             bring raw files into the warehouse, <table>.parquet|csv|jsonl
  orchestrate preview --brand B    look at the first rows of both files
  orchestrate daily --dry-run      see what would be delivered, under which names
  orchestrate check                find out now what would fail tonight
  orchestrate daily                deliver"""
"""What to do then."""


def write(folder: Path) -> list[Path]:
    """Write exports.yml, its schema and profiles/profiles.yml to a folder; return their paths.

    Raises UsageError, and writes nothing, where one of them is there already, or a folder cannot
    be.
    """
    texts = {
        folder / "exports.yml": example(),
        folder / "exports.schema.json": config_schema.text(),
        folder / "profiles" / "profiles.yml": project.own_profiles(),
    }
    for place in (folder, folder / "profiles"):
        nearest = next(each for each in (place, *place.parents) if os.path.lexists(each))
        if not nearest.is_dir():
            raise UsageError(f"{nearest} is no folder; nothing was written")
    if found := [str(path) for path in texts if os.path.lexists(path)]:
        raise UsageError(f"{', '.join(found)}: there already; nothing was written")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    return list(texts)


def example() -> str:
    """Return an exports.yml that works, with every other key as a comment that says its default."""
    schema = config_schema.schema()
    keys = {
        name: each["properties"] for name, each in schema["$defs"].items() if "properties" in each
    }
    export = dict(keys["Export"])
    brand = export.pop("brand")
    # The keys of each model by itself: its docstring is their heading.
    groups = {
        str(model.__doc__): {key: export[key] for key in model.__annotations__ if key in export}
        for model in (Export, *reversed(GROUPS.values()))
    }
    return templates.plain("exports.yml", shown=_shown).render(
        top=schema["properties"],
        line=keys["DestinationLine"],
        sftp=keys["Sftp"],
        brand=brand,
        groups={heading: own for heading, own in groups.items() if own},
    )


def _shown(about: Mapping[str, Any]) -> str:
    """Return the default of a key, or an example where there is none, as YAML on one line."""
    (example,) = about.get("examples", [None])
    value = example if about.get("default") is None else about["default"]
    if isinstance(value, str):
        return value if re.fullmatch("[A-Za-z0-9_~/.-]+", value) else json.dumps(value)
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False)
    return text.removesuffix("...\n").rstrip("\n")
