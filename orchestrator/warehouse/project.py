"""The dbt project and the target of profiles.yml that a command works with."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.config import yaml_source
from orchestrator.errors import ConfigError, UsageError, valid_names


@dataclass(frozen=True)
class Project:
    """A dbt project, and one target of its profile."""

    folder: Path
    profiles: Path
    """The folder of profiles.yml."""
    profile: str
    target: str
    output: dict[str, Any]
    """The target as in profiles.yml, with Jinja such as `{{ env_var('DUCKDB_PATH') }}`."""
    variables: dict[str, Any]
    """The `vars` of dbt_project.yml."""


def find(base: Path, target: str | None) -> Project:
    """Return the project and the target to use.

    The folders are $DBT_PROJECT_DIR and $DBT_PROFILES_DIR, or else `dbt_project` and `profiles` in
    the folder `base` (that of exports.yml), or else those of this package. The target is the
    given one, or else $ORCHESTRATE_TARGET, or else duckdb. Raises UsageError that names the folder,
    file or target that does not exist.
    """
    folder = _folder("DBT_PROJECT_DIR", base / "dbt_project", "dbt_project.yml")
    profiles = _folder("DBT_PROFILES_DIR", base / "profiles", "profiles.yml")
    project = _yaml(folder / "dbt_project.yml")
    name = str(project.get("profile"))
    outputs = _outputs(profiles, name)
    chosen = target or os.environ.get("ORCHESTRATE_TARGET") or "duckdb"
    if chosen not in outputs:
        raise UsageError(
            f"{profiles / 'profiles.yml'}: profile '{name}' has no target '{chosen}'"
            f"{valid_names(chosen, outputs)}"
        )
    return Project(
        folder, profiles, name, chosen, _mapping(outputs[chosen]), _mapping(project.get("vars"))
    )


def targets(base: Path) -> list[str]:
    """Return the names of the targets. Raises UsageError as `find` does."""
    folder = _folder("DBT_PROJECT_DIR", base / "dbt_project", "dbt_project.yml")
    profiles = _folder("DBT_PROFILES_DIR", base / "profiles", "profiles.yml")
    return list(_outputs(profiles, str(_yaml(folder / "dbt_project.yml").get("profile"))))


def rendered(output: Mapping[str, Any]) -> dict[str, Any]:
    """Return a target of profiles.yml with its Jinja rendered by dbt's own renderer.

    So the orchestrator accepts every expression that dbt accepts (env_var with a default,
    `as_number`, secrets in DBT_ENV_SECRET_…) and connects to the same warehouse as dbt. Raises
    ConfigError if an environment variable is not set or an expression is not valid.
    """
    if "{{" not in repr(output) and "{%" not in repr(output):
        return dict(output)
    # Importing dbt takes seconds, which a run with nothing due must not spend.
    from dbt.config.renderer import ProfileRenderer  # noqa: PLC0415 - as above
    from dbt.exceptions import EnvVarMissingError  # noqa: PLC0415 - as above
    from dbt_common.context import set_invocation_context  # noqa: PLC0415 - as above
    from dbt_common.exceptions import DbtBaseException  # noqa: PLC0415 - as above

    set_invocation_context(os.environ)
    try:
        values: dict[str, Any] = ProfileRenderer({}).render_data(dict(output))
    except EnvVarMissingError as error:
        raise ConfigError(
            f"profiles.yml: the environment variable {error.var} is not set; set it, or give"
            " env_var a default"
        ) from error
    except DbtBaseException as error:
        raise ConfigError(f"profiles.yml: {' '.join(str(error).split())}") from error
    return values


def own_profiles() -> str:
    """Return the text of the profiles.yml of this package."""
    files = (folder / "profiles.yml" for folder in _packaged("profiles"))
    return next(file for file in files if file.is_file()).read_text(encoding="utf-8")


def _outputs(profiles: Path, name: str) -> dict[str, Any]:
    profile = _mapping(_yaml(profiles / "profiles.yml").get(name))
    return _mapping(profile.get("outputs"))


def _folder(variable: str, default: Path, file: str) -> Path:
    if given := os.environ.get(variable):
        candidates = [Path(given).expanduser()]
    else:
        candidates = [default, *_packaged(default.name)]
    for folder in candidates:
        if (folder / file).is_file():
            return folder.absolute()
    raise UsageError(f"{candidates[0]}: contains no {file}; set {variable} to the folder that does")


def _packaged(name: str) -> list[Path]:
    """Return where a folder of this package can be: in its wheel, or in a checkout."""
    package = Path(__file__).parent.parent
    return [package / "project" / name, package.parent / name]


def _yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise yaml_source.unreadable(path, error) from None  # the text of `error` quotes the file
    return _mapping(values)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
