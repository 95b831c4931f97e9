"""Text with dbt's `{{ env_var('NAME', 'default') }}`, which is parsed as Jinja and never run."""

import os

from jinja2 import Environment, TemplateError, nodes

from orchestrator.errors import ConfigError, UnsetError

_JINJA = Environment(keep_trailing_newline=True)  # noqa: S701 - it parses, and renders nothing


def filled(text: str) -> str:
    """Return the text with the values of the variables.

    Raises UnsetError where a variable is not set, else ConfigError where the text holds anything
    else of Jinja.
    """
    try:
        body = _JINJA.parse(text).body
        parts = [part for output in body for part in _parts(output)]
        return "".join(map(_filled, parts))
    except (TemplateError, RecursionError, _NoEnvVarError):
        raise ConfigError("of Jinja only {{ env_var('NAME', 'default') }} is known here") from None


class _NoEnvVarError(Exception):
    pass


def _parts(output: nodes.Node) -> list[nodes.Expr]:
    if not isinstance(output, nodes.Output):
        raise _NoEnvVarError
    return output.nodes


def _filled(part: nodes.Expr) -> str:
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
