"""Write the pages of docs/ that are generated from the code, so that both always agree.

`make reference` writes them; tests/docs/test_reference.py generates them again and compares.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import jinja2
import typer
import yaml

from orchestrator import cli, errors
from orchestrator.cli import metrics
from orchestrator.config import schema as config_schema
from orchestrator.config.exports import GROUPS, Export, Kind
from orchestrator.files import formats
from orchestrator.warehouse.contract import read_contract

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "dbt_project"
SAMPLES = ROOT / "docs/samples"

# Text that is added to the description of a key, which has one line only.
NOTES = {
    "timezone": "After a change, the first window begins where the last one ended.",
    "start": "Windows before the first run are exported from this day on. Without it, the first run exports the last finished window only, and [`backfill`](commands.md#orchestrate-backfill) the earlier ones.",
    "brand": 'While the warehouse has no brand at all, the windows of `"*"` stay due.',
    "activity_file": "With `{revision}` in both file names, or in `directory`, each revision has separate files, and those of earlier revisions stay as they are: use it if the receiver reads each name only once, as Databricks' Auto Loader does. Without it, a revision replaces the files of the revision before. When the clocks are set back, an hour occurs twice: the second time, the UTC offset is added (`0200+0100`). A name has at most 200 bytes and does not begin with a dot.",
    "quoting": "Under `minimal`, a field is quoted if it contains the delimiter, a quote or a line break, is an empty text, or reads like `null`.",
    "compression": "A `zip` has one member, whose name is that of the file without `.zip`. The same rows give the same bytes.",
    "encrypt_for": "Files are compressed first, then encrypted. `orchestrate check` says whether the key can be used; an expired key stops only the exports that use it.",
    "completion": "`ready`: for each file X a file `X.ready`, which `sha256sum -c X.ready` checks. `manifest`: one JSON document per window, `<activity file>.manifest.json`, a [Data Package](https://datapackage.org). [The manifest](../receiving.md#the-manifest)",
    "activity_fields": "[Fields](../fields.md) shows examples, each with the file that it gives.",
    "notify": "[Notifications](../running.md#notifications)",
    "retention": "[Retention](../running.md#retention)",
    "late_rows": "[Late rows](../running.md#late-rows)",
    "state": "[Several hosts](../running.md#several-hosts)",
}

# One line for each exit code; environment() fails if the product has another one.
EXIT_CODES = {
    0: "Done, or nothing was due.",
    1: "Failed: a server, a database, a disk or a file. Try again; if it fails again, read the message.",
    2: "Wrong usage, or a mistake in exports.yml or the dbt project. The message names the place.",
    3: "Partly: some exports failed and the others were delivered, or `load` rejected rows.",
    4: "dbt or a data test of severity error stopped a window. Nothing of that window was delivered.",
    75: "Another run is active in this outbox or with this ledger, or another process uses the warehouse file. Try again later.",
    130: "Interrupted by Ctrl-C. Files that were built or delivered so far are kept; the next run continues.",
    143: "Ended by SIGTERM, as systemd, Kubernetes and `timeout` send it. As with 130, nothing is lost.",
}

# Every variable that the product reads itself; tests/docs/test_reference.py looks for others.
ENVIRONMENT = {
    "ORCHESTRATE_CONFIG": ("`exports.yml` in the current folder", "The exports.yml to use."),
    "ORCHESTRATE_TARGET": ("`duckdb`", "The target of profiles.yml: the warehouse to use."),
    "DUCKDB_PATH": (
        "`warehouse.duckdb` in the current folder",
        "The file of the DuckDB warehouse.",
    ),
    "DUCKDB_MEMORY_LIMIT": (
        "`512MB`",
        "The memory that DuckDB may use; data beyond it goes to disk. A load uses it twice: for the files and for the warehouse. `settings: {memory_limit: …, threads: …}` of a target in profiles.yml override it.",
    ),
    "PGHOST": (
        "`localhost`",
        "The server, for the target `postgres`. libpq's other variables work too.",
    ),
    "PGPORT": ("`5432`", "Its port."),
    "PGUSER": ("`postgres`", "The role."),
    "PGPASSWORD": ("none", "Its password; `~/.pgpass` works too."),
    "PGDATABASE": ("`postgres`", "The database."),
    "SPARK_MASTER": ("`local[*]`", "Where Spark runs, for the target `spark`."),
    "SPARK_WAREHOUSE_DIR": (
        "`spark-warehouse` in the current folder",
        "On a cluster, a folder that this host and all workers see under the same path.",
    ),
    "DBT_PROJECT_DIR": (
        "`dbt_project` next to exports.yml, else the product's own",
        "The dbt project.",
    ),
    "DBT_PROFILES_DIR": (
        "`profiles` next to exports.yml, else the product's own",
        "The folder of profiles.yml.",
    ),
    "SSH_AUTH_SOCK": (
        "none",
        "The SSH agent, for a destination without a key and a password.",
    ),
    "NO_COLOR": ("unset", "No colours. `TERM=dumb` does the same."),
}

# By activity code: its term in dbt_project/models/docs.md, its date, its description.
ACTIVITIES = {
    "broadcast": ("send", "when it was mailed", "empty"),
    "open": ("open", "when the images were loaded", "empty"),
    "click": ("click", "when the link was followed", "the link"),
    "soft_bounce": (
        "soft_bounce",
        "when the mail was refused",
        "the literal text of the provider that refused it; may be empty",
    ),
    "hard_bounce": (
        "hard_bounce",
        "when the mail was refused",
        "the literal text of the provider that refused it; may be empty",
    ),
    "complaint": (
        "complaint",
        "when the customer complained",
        "the literal text that came with the complaint; may be empty",
    ),
    "unsubscribe": ("unsubscribe", "when the customer unsubscribed", "empty"),
}
TYPES = {
    "text": "text",
    "timestamp": "moment",
    "timestamp with time zone": "time",
    "boolean": "`true` or `false`",
    "bigint": "whole number",
}
# Words for a value whose pattern in the JSON Schema contains this text, and for each type; no words
# for a boolean or a number that is written as text.
PATTERNS = {
    "smhd": "a duration",
    "[01][0-9]|2[0-3]": "a time of day",
    "19[7-9]": "a day",
    "[Tt][Rr][Uu][Ee]": "",
    "^[0-9]+$": "",
}
JSON_TYPES = {"boolean": "`true`, `false`", "array": "a list", "object": "a mapping", "null": ""}
GENERATED = (
    "<!-- Generated by `make reference`: change the code that it names, not this page. -->\n"
)


def pages() -> dict[Path, str]:
    """Return the text of every generated page, by its path."""
    return {
        ROOT / "docs/reference/exports-yml.md": exports_yml(),
        ROOT / "docs/reference/commands.md": commands(),
        ROOT / "docs/reference/environment.md": environment(),
        ROOT / "docs/reference/metrics.md": metrics_page(),
        ROOT / "docs/reference/raw-tables.md": raw_tables(),
        ROOT / "docs/data-dictionary.md": data_dictionary(),
    }


def exports_yml() -> str:
    """Return the page of every key of exports.yml, from the models that check the file."""
    schema = config_schema.schema()
    own = {name: each.get("properties", {}) for name, each in schema["$defs"].items()}
    export = own["Export"]
    when, *others = [
        (str(model.__doc__).rstrip("."), [key for key in model.__annotations__ if key in export])
        for model in (Export, *reversed(GROUPS.values()))
    ]
    lines = [
        "# exports.yml",
        GENERATED,
        "exports.yml defines which rows are exported, when, in which format and to which destinations. A command reads the file of `--config`, else of `$ORCHESTRATE_CONFIG`, else `exports.yml` in the current folder. `orchestrate init` writes one with every key as a comment. `orchestrate config schema` prints its JSON Schema, with which editors complete and check it.",
        "Any text may contain dbt's `{{ env_var('NAME', 'default') }}`; use it for secrets. Relative paths start at the folder of exports.yml. A duration is a number and a unit: `90s`, `15m`, `6h`, `14d`, `2mo`. A mistake is reported with file, line, key and the valid values.",
        "## The file",
        *_keys(schema["properties"], schema["required"]),
        "## A destination",
        "Under `destinations`, by name: either `sftp` or `directory`, and `retention`.",
        *_keys(own["DestinationLine"], ()),
        "### `sftp`",
        "The server's host key must be in `known_hosts`. There is no option that switches this check off.",
        *_keys(own["Sftp"], schema["$defs"]["Sftp"]["required"]),
        "## An export",
        "One entry under `exports`. Every key except `brand` may also be under `defaults`, for all exports; an entry overrides it.",
        "`directory`, `activity_file` and `broadcast_file` are patterns. They may contain `{brand}`, `{revision}`, and the bounds of the window with the codes of strftime: `{window_start:%Y%m%d}`, `{window_end:%Y%m%d}`.",
        *_keys({key: export[key] for key in when[1]}, ("brand",)),
    ]
    for heading, keys in others:
        lines += [f"### {heading}", *_keys({key: export[key] for key in keys}, ())]
    lines += [
        "### One field",
        "An item of `activity_fields`, `broadcast_fields` or `additional_fields` is the name of a column of the [views](../data-dictionary.md), or a mapping of:",
        *_keys(own["FieldChoice"], schema["$defs"]["FieldChoice"]["required"]),
    ]
    return _page(lines)


def _keys(keys: Mapping[str, Any], required: Iterable[str]) -> Iterator[str]:
    rows = []
    for key, about in keys.items():
        text = about["description"]
        text += " " + NOTES[key] if key in NOTES else ""
        default = "**required**" if key in required else _default(key, about)
        rows.append((f"`{key}`", default, _values(about), text))
    yield _table(("key", "default", "values", "meaning"), rows)


def _default(key: str, about: Mapping[str, Any]) -> str:
    default = about.get("default")
    if key == "destination":
        return "the only one"
    if default is None or default in ([], {}) or key == "additional_fields":
        return "none"
    needs_no_quotes = isinstance(default, str) and re.fullmatch(r"[\w~/.:{}%+-]+", default)
    return f"`{default if needs_no_quotes else json.dumps(default, ensure_ascii=False)}`"


def _values(about: Mapping[str, Any]) -> str:
    """Return the values that a key may have, in a few words."""
    choices = _choices(about, config_schema.schema()["$defs"])
    return ", ".join(dict.fromkeys(words for each in choices if (words := _words(each))))


def _words(choice: Mapping[str, Any]) -> str:
    """Return the values of one choice of a JSON Schema; empty for another way to write the same."""
    if "pattern" in choice:
        return next(
            (words for part, words in PATTERNS.items() if part in choice["pattern"]), "text"
        )
    if values := choice.get("enum", [choice["const"]] if "const" in choice else []):
        is_zone = "Europe/Amsterdam" in values
        return "a name of the IANA database" if is_zone else ", ".join(f"`{v}`" for v in values)
    if choice["type"] == "integer":
        least, most = choice["minimum"], choice["maximum"]
        return "" if (least, most) == (0, 1) else f"{least} to {most}"  # 0 and 1 are booleans too
    return JSON_TYPES.get(str(choice["type"]), "text")


def _choices(about: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[Any]:
    if "$ref" in about:
        name = about["$ref"].rsplit("/", 1)[1]
        if name != "Variable":
            yield from _choices(definitions[name], definitions)
    elif "anyOf" in about:
        for each in about["anyOf"]:
            yield from _choices(each, definitions)
    else:
        yield about


def commands() -> str:
    """Return the page of every command and option, from typer."""
    root = typer.main.get_command(cli.app)
    lines = [
        "# Commands",
        GENERATED,
        "The result of a command goes to stdout; progress, warnings and errors go to stderr. [Exit codes](environment.md#exit-codes)",
        "`orchestrate --install-completion` lets the shell complete commands, options, brands and targets.",
    ]
    found = list(_commands(root, "orchestrate"))
    common = set.intersection(
        *({_option(each) for each in command.params} for name, command in found if command.params)
    )
    lines += ["Every command has these options:", _options(sorted(common))]
    lines.append(
        _table(
            ("command", "does"),
            [
                (f"[`{name}`](#{_anchor(name)})", _help(command)[0].rstrip("."))
                for name, command in found
            ],
        )
    )
    for name, command in found:
        lines.append(f"## `{name}`")
        *paragraphs, example = _help(command)
        lines += paragraphs
        arguments = [each for each in command.params if _is_argument(each)]
        shown = [_option(each) for each in command.params if _option(each) not in common]
        usage = " ".join([name, *(_argument(each) for each in arguments)])
        lines.append(f"```\n{usage}{' [OPTIONS]' if shown else ''}\n```")
        if shown:
            lines.append(_options(shown))
        lines += ["Example:", example]
    return _page(lines)


def _commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - typer's own, which is private
    for each, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{name} {each}")
        else:
            yield f"{name} {each}", command


def _help(command: Any) -> list[str]:  # noqa: ANN401 - typer's own, which is private
    """Return the paragraphs of a command's help; its example as code."""
    paragraphs = re.split(r"\n\s*\n", command.help.strip())
    return [
        f"```console\n$ {text.removeprefix('Example: ')}\n```"
        if text.startswith("Example: ")
        else " ".join(text.split())
        for text in paragraphs
    ]


def _argument(parameter: Any) -> str:  # noqa: ANN401 - typer's own, which is private
    return parameter.metavar if parameter.required else f"[{parameter.metavar}]"


def _is_argument(parameter: Any) -> bool:  # noqa: ANN401 - typer's own, which is private
    return not parameter.opts[0].startswith("-")


def _option(parameter: Any) -> tuple[str, str, str]:  # noqa: ANN401 - typer's own, which is private
    """Return an option or argument, its default and its help."""
    kind = parameter.type_descriptor.annotation
    if _is_argument(parameter):
        name = f"`{_argument(parameter)}`"
    else:
        takes = parameter.metavar or parameter.name.upper()
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            takes = "|".join(kind)
        value = "" if parameter.is_flag else f" {takes}"
        name = ", ".join(f"`{each}{value}`" for each in sorted(parameter.opts, key=len))
    default = "" if parameter.default in (None, False, ()) else f"`{parameter.default}`"
    return name, "**required**" if parameter.required else default, parameter.help or ""


def _options(rows: list[tuple[str, str, str]]) -> str:
    return _table(("option", "default", "meaning"), rows)


def environment() -> str:
    """Return the page of exit codes and environment variables."""
    known = {each.exit_code for each in _tree(errors.ExportError)} | {130, 143, 0, 3}
    if known != EXIT_CODES.keys():
        raise ValueError(f"EXIT_CODES must have exactly these exit codes: {known}")
    return _page(
        [
            "# Exit codes and environment",
            GENERATED,
            "## Exit codes",
            _table(("code", "means"), [(str(code), text) for code, text in EXIT_CODES.items()]),
            "`status` exits with 0 even if it finds problems: alert on its metrics, or on `--json`.",
            "## Environment",
            _table(
                ("variable", "default", "meaning"),
                [(f"`{name}`", *about) for name, about in ENVIRONMENT.items()],
            ),
            "For secrets, choose your own variables and name them in exports.yml: `{{ env_var('SFTP_PASSWORD') }}`. The schedules that `orchestrate schedule` prints read `orchestrate.env` next to exports.yml.",
        ]
    )


def _tree(kind: type[errors.ExportError]) -> Iterator[type[errors.ExportError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _tree(each)


def metrics_page() -> str:
    """Return the page of the metrics that `status --prometheus` writes."""
    return _page(
        [
            "# Metrics",
            GENERATED,
            "`orchestrate status --prometheus FILE` writes these gauges for the node exporter's textfile collector. Each has the labels `brand`, `interval` and `export`; some have one more. A value that is not known, such as the lag of an export that delivered nothing, has no sample.",
            _table(
                ("metric", "label", "meaning"),
                [
                    (f"`event_based_export_{name}`", f"`{label}`" if label else "", text)
                    for name, (text, label) in metrics.GAUGES.items()
                ],
            ),
            "[Alert rules](../running.md#watch-it)",
        ]
    )


def raw_tables() -> str:
    """Return the page of the raw tables, from the contract that `orchestrate load` reads."""
    read_contract(PROJECT)  # raises an error for an invalid contract
    document = _yaml(PROJECT / "models/staging/_sources.yml")
    lines = [
        "# Raw tables",
        GENERATED,
        "The tables of the schema `raw`, which `orchestrate load` or another loader fills, and the values that they may contain. This contract is in `dbt_project/models/staging/_sources.yml`, which `orchestrate load` and the views read. [Where do my rows come from?](../mapping.md) shows how to get these tables from a platform's events.",
        "A *moment* is an ISO 8601 instant such as `2026-11-18T09:00:00Z`; without an offset it is read as UTC. Ids are text. A column without *may be null* must have a value in every row.",
    ]
    for table in document["sources"][0]["tables"]:
        meta = table["config"]["meta"]
        key = ", ".join(f"`{name}`" for name in meta["key"])
        counts = (
            "Of two rows with the same key, the newer one counts."
            if meta["kind"] == "entity"
            else "The same key received again counts once."
        )
        lines += [f"## {table['name']}", f"{table['description'].strip()} Key: {key}. {counts}"]
        rows = []
        for column in table["columns"]:
            about = (column.get("config") or {}).get("meta") or {}
            accepted = about.get("accepted_values")
            takes = ", ".join(f"`{value}`" for value in accepted) if accepted else None
            kind = takes or TYPES[column["data_type"]]
            nullable = "may be null" if about.get("nullable") else ""
            rows.append((f"`{column['name']}`", kind, nullable, column["description"].strip()))
        lines.append(_table(("column", "values", "", "meaning"), rows))
    return _page(lines)


def data_dictionary() -> str:
    """Return the page of every column that a file can have, from the views' YAML."""
    lines = [
        "# Data dictionary",
        GENERATED,
        "Every column that a file can have, from the YAML of the two views. *Default* columns are in a file unless the sender chose others; the sender can add the other ones with [`additional_fields`](reference/exports-yml.md). [The files](receiving.md) describes the format.",
        "Sample files: [activity_BRANDNAAM_20170515.csv](samples/activity_BRANDNAAM_20170515.csv) and [broadcast_BRANDNAAM_20170515.csv](samples/broadcast_BRANDNAAM_20170515.csv), and their [manifest](samples/activity_BRANDNAAM_20170515.csv.manifest.json), which has the same information for programs ([The manifest](receiving.md#the-manifest)). Most examples below are from them.",
    ]
    activity_labels = {}
    views: dict[Kind, str] = {"activity": "activities_daily", "broadcast": "broadcasts_daily"}
    for kind, view in views.items():
        (model,) = _yaml(PROJECT / f"models/exports/{view}.yml")["models"]
        never_null = _never_null(model)
        default = formats.DEFAULT_FIELDS[kind]
        rows = []
        for column in model["columns"]:
            name, meta = column["name"], column["config"]["meta"]
            if meta.get("value_labels"):
                activity_labels = meta["value_labels"]
            labels = meta["labels"]
            example = _example(kind, name, labels["en"])
            rows.append(
                (
                    f"`{name}`",
                    str(default.index(name) + 1) if name in default else "",
                    labels["en"],
                    labels["nl"],
                    TYPES[column["data_type"]],
                    "" if name in never_null else "yes",
                    column["description"].strip(),
                    f"`{example}`",
                )
            )
        rows.sort(key=lambda row: int(row[1] or 100))
        headings = ("column", "default", "label (en)", "label (nl)", "type", "may be null")
        lines += [
            f"## The {kind} file",
            model["description"].strip().replace("\n", " "),
            _table((*headings, "meaning", "example"), rows),
        ]
    lines += [
        "## Activities",
        "The column `activity` has one of these values: the label in the language of the file, or with `labels: names` the code.",
        _table(
            ("code", "label (en)", "label (nl)", "meaning", "activity date", "description"),
            list(_activities(activity_labels)),
        ),
        "A description is also empty if the platform has no text.",
        "## Broadcast types",
        "`broadcast_type` has the value that the platform gives it; the value is not checked. Ask the sender for the list. Common values:",
        _table(
            ("type", "usually"),
            [
                ("`SINGLE`", "one mailing, sent once to a selection of customers"),
                (
                    "`CAMPAIGN`",
                    "a mail of an automated campaign, sent to each customer at a separate time",
                ),
                ("`QUICKMAIL`", "a short mail that was written and sent without a template"),
                ("`SPLITRUN`", "a mailing in several versions, to find the most successful one"),
            ],
        ),
    ]
    return _page(lines)


def _activities(labels: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, ...]]:
    if labels.keys() != ACTIVITIES.keys():
        raise ValueError(f"ACTIVITIES must have exactly these activities: {[*labels]}")
    for code, (term, date, description) in ACTIVITIES.items():
        yield f"`{code}`", labels[code]["en"], labels[code]["nl"], _terms()[term], date, description


def _never_null(model: Mapping[str, Any]) -> set[str]:
    """Return the columns that a data test checks to be never null."""
    found = {
        column["name"]
        for column in model["columns"]
        if any("not_null" in each for each in column.get("data_tests", []))
    }
    for test in model["data_tests"]:
        for name, about in test.items():
            if "not_null" in name:
                found.update(about["arguments"]["columns"])
    return found


def _example(kind: str, name: str, label: str) -> str:
    """Return the first value of a column in the sample files, else in the raw rows behind them."""
    (path,) = SAMPLES.glob(f"{kind}_*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if value := row.get(label):
                return value
    pattern = "email_*" if kind == "activity" else "broadcasts"
    for raw in sorted(SAMPLES.glob(f"raw/{pattern}.jsonl")):
        for line in raw.read_text(encoding="utf-8").splitlines():
            value = json.loads(line).get(name)
            if isinstance(value, bool):
                return json.dumps(value)
            if value is not None:
                moment = name.endswith("_at")
                return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M:%S}" if moment else value
    return "true"  # flags that the views compute: they are true for every row of the samples


def _terms() -> dict[str, str]:
    """Return the texts of the docs blocks of the dbt project, by name."""
    text = (PROJECT / "models/docs.md").read_text(encoding="utf-8")
    blocks = re.findall(r"{% docs (\w+) %}(.*?){% enddocs %}", text, re.DOTALL)
    return {name: " ".join(said.split()) for name, said in blocks}


def _yaml(path: Path) -> Any:  # noqa: ANN401 - whatever the file has
    """Return a YAML file of the dbt project, with the Jinja in its texts rendered."""
    terms = _terms()

    def rendered(node: Any) -> Any:  # noqa: ANN401
        if isinstance(node, dict):
            return {key: rendered(value) for key, value in node.items()}
        if isinstance(node, list):
            return [rendered(value) for value in node]
        if isinstance(node, str) and "{{" in node:
            template = jinja2.Template(node)
            given = {"target": {"type": "duckdb"}, "var": lambda _, default="": default}
            return template.render(doc=terms.__getitem__, **given)
        return node

    return rendered(yaml.safe_load(path.read_text(encoding="utf-8")))


def _anchor(heading: str) -> str:
    """Return the anchor of a heading, as GitHub and Python-Markdown make it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
        for line in lines
    )


def _page(paragraphs: Iterable[str]) -> str:
    return "\n\n".join(each.rstrip("\n") for each in paragraphs) + "\n"


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
