"""What the YAML of the dbt project says about the columns of the raw tables and of the views.

`models/staging/_sources.yml` is the raw contract. `load` creates and checks the raw tables
according to it, so a column that is added there is loaded without a change of Python code. The
labels of a view's columns are in the view's own YAML. Errors in both name file, line and key, as
those in exports.yml do.
"""

from collections.abc import Callable, Collection, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AliasPath,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from orchestrator.config import yaml_source
from orchestrator.config.problems import Problems
from orchestrator.config.yaml_source import Location, Source
from orchestrator.errors import ConfigError, UsageError, did_you_mean

ColumnType = Literal["text", "timestamp", "boolean"]
TableKind = Literal["event", "entity"]

SOURCES = Path("models/staging/_sources.yml")
RECEIVED_AT = "received_at"  # when the platform registered a row; not every table has it
_SOURCE = "raw"
_META = ("config", "meta")

_T = TypeVar("_T")
_Name = Annotated[str, StringConstraints(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]


def _meta(key: str) -> Any:  # noqa: ANN401 - what pydantic's Field returns
    return Field(validation_alias=AliasPath(*_META, key))


def _checked_meta(values: Any, *known: str) -> Any:  # noqa: ANN401 - any of YAML
    """Raise ValueError for a misspelled key. Other keys are allowed: a team may have its own."""
    if not isinstance(values, dict):
        return  # pydantic reports this
    config = values.get("config") or {}
    meta = config.get("meta") or {} if isinstance(config, dict) else None
    if not isinstance(meta, dict):
        raise ValueError("config.meta must be a mapping")  # noqa: TRY004 - pydantic only catches ValueError
    for key in meta.keys() - {*known}:
        if hint := did_you_mean(str(key), known, cutoff=0.8):
            raise ValueError(f"config.meta.{key} is unknown{hint}")


@dataclass(frozen=True)
class Column:
    """One raw column, and which values it may have."""

    name: _Name
    type: Annotated[ColumnType, Field(validation_alias="data_type")]
    nullable: Annotated[bool, _meta("nullable"), Field(strict=True)] = False
    accepted_values: Annotated[tuple[str, ...], _meta("accepted_values")] = ()

    @model_validator(mode="before")
    @classmethod
    def _check_meta(cls, values: Any) -> Any:  # noqa: ANN401 - any of YAML
        _checked_meta(values, "nullable", "accepted_values")
        return values

    @model_validator(mode="after")
    def _check_accepted_values(self) -> "Column":
        if self.accepted_values and self.type != "text":
            raise ValueError("config.meta.accepted_values is for columns of type text")
        return self


@dataclass(frozen=True)
class Table:
    """One raw table, of events (which never change) or of entities (whose newest row counts)."""

    name: _Name
    kind: Annotated[TableKind, _meta("kind")]
    key: Annotated[tuple[str, ...], _meta("key"), Field(min_length=1)]
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _check_meta(cls, values: Any) -> Any:  # noqa: ANN401 - any of YAML
        _checked_meta(values, "kind", "key")
        return values

    @model_validator(mode="after")
    def _check_columns(self) -> "Table":
        names = [column.name for column in self.columns]
        _refuse_repeats("column", names)
        if unknown := ", ".join(name for name in self.key if name not in names):
            raise ValueError(f"config.meta.key names {unknown}, which is not a column of the table")
        return self

    @property
    def is_received(self) -> bool:
        """Whether the table has the column `received_at`."""
        return any(column.name == RECEIVED_AT for column in self.columns)

    def definitions(
        self, types: Mapping[ColumnType, str], quoted: Callable[[str], str]
    ) -> dict[str, str]:
        """Return the SQL definition of each column, by name; `types` are those of the engine."""
        return {
            column.name: f"{quoted(column.name)} {types[column.type]}"
            + ("" if column.nullable else " not null")
            for column in self.columns
        }

    def missing_columns(self, existing: Container[str], *, where: str) -> list[Column]:
        """Return the columns that the stored table does not have, to be added.

        `existing` are the names of its columns in lower case, `where` is its name for the error.
        Raises UsageError if one of the missing columns is required.
        """
        missing = [column for column in self.columns if column.name.lower() not in existing]
        if required := [column.name for column in missing if not column.nullable]:
            raise UsageError(
                f"{where} has no column {', '.join(required)}, which may not be null: add and fill"
                " it in the warehouse, or mark it nullable in the raw contract.",
            )
        return missing


@dataclass(frozen=True)
class Contract:
    """Every raw table, in the order of the file."""

    tables: Annotated[tuple[Table, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_tables(self) -> "Contract":
        _refuse_repeats("table", [table.name for table in self.tables])
        return self


@dataclass(frozen=True)
class _Sources:
    sources: Annotated[list[dict[str, Any]], Field(min_length=1)]


def read_contract(project_dir: Path) -> Contract:
    """Read the raw contract of the dbt project in `project_dir`.

    Raises UsageError that names file, line and key of every mistake in it.
    """
    path = project_dir / SOURCES
    if not path.exists():
        raise UsageError(f"{path} does not exist: is {project_dir} the folder of the dbt project?")
    source = yaml_source.read_yaml(path, typed=True)
    sources = _validated(_Sources, source.values, source, ()).sources
    found = [index for index, each in enumerate(sources) if each.get("name") == _SOURCE]
    if len(found) != 1:
        raise UsageError(f"{path}: expected one source named '{_SOURCE}', found {len(found)}")
    return _validated(Contract, sources[found[0]], source, ("sources", found[0]))


def _validated(model: type[_T], values: object, source: Source, at: Location) -> _T:
    try:
        return TypeAdapter(model).validate_python(values)
    except ValidationError as error:
        problems = Problems(source)
        problems.add_all(error, at)
        raise problems.error() from error


def _refuse_repeats(kind: str, names: list[str]) -> None:
    if repeated := ", ".join(sorted({name for name in names if names.count(name) > 1})):
        raise ValueError(f"{kind} named more than once: {repeated}")


_Text = Annotated[str, Field(min_length=1)]


class LabelError(ConfigError):
    """A label that an export needs is not text, or is missing. Exit code 2."""


@dataclass(frozen=True)
class _Labels:
    labels: dict[str, _Text] = field(default_factory=dict)
    value_labels: dict[str, dict[str, _Text]] = field(default_factory=dict)


@dataclass(frozen=True)
class ColumnFacts:
    """What a view's YAML promises of a column: its description, and what its data tests check.

    A test of severity warn promises nothing, because the rows that it finds are delivered.
    """

    description: str = ""
    is_required: bool = False
    """It is never null."""
    is_key: bool = False
    """It is one of the columns that are unique together."""
    accepted_values: tuple[str, ...] = ()


@dataclass(frozen=True)
class ViewColumn:
    """A column of a view, with the labels of the column and of its values, by language.

    A mistake in a label, such as `No`, which YAML reads as false, must not stop the exports that do
    not use the label. So it is kept in `errors`, by its key below `config.meta`, and raised only
    when the label is used.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    value_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    errors: Mapping[Location, str] = field(default_factory=dict)
    facts: ColumnFacts = ColumnFacts()

    def label(self, language: str) -> str | None:
        """Return the label of the column, or None if it has none in this language.

        Raises LabelError if it is not text in the YAML.
        """
        if language not in self.labels:  # a mistake in another label does not matter
            self._refuse("labels")
        self._refuse("labels", language)
        return self.labels.get(language)

    def labels_of_values(self, language: str) -> dict[str, str]:
        """Return the labels of those values that have one. Raises LabelError as `label` does."""
        for value in self.values:
            self._refuse("value_labels", value)
            self._refuse("value_labels", value, language)
        labels = self.value_labels.items()
        return {value: each[language] for value, each in labels if language in each}

    @property
    def values(self) -> Collection[str]:
        """The values with labels; for the column `activity` all its values. Raises LabelError."""
        self._refuse("value_labels")
        return self.value_labels.keys()

    def _refuse(self, *key: str) -> None:
        if message := self.errors.get(key) or self.errors.get(()):
            raise LabelError(message)


def view_column(
    name: str,
    meta: Mapping[str, Any],
    *,
    path: Path,
    model: str,
    facts: ColumnFacts = ColumnFacts(),
) -> ViewColumn:
    """Return a column of a view, from its `meta` as dbt read it from the YAML file at `path`."""
    given = {key: meta[key] for key in ("labels", "value_labels") if key in meta}
    errors: dict[Location, str] = {}
    try:
        TypeAdapter(_Labels).validate_python(given)
    except ValidationError as error:
        source, at = _locate(path, model, name)
        problems = Problems(source)
        problems.add_all(error, at)
        errors = {where[len(at) :]: text for text, where in problems.bullets.items()}
        given = {key: value for key, value in given.items() if isinstance(value, dict)}
    return ViewColumn(name, **given, errors=errors, facts=facts)


def _locate(path: Path, model: str, column: str) -> tuple[Source, Location]:
    """Return a model's YAML file, and the location of a column's `meta` in it."""
    source = yaml_source.read_yaml(path, typed=True)
    for index, each in enumerate(source.values.get("models") or ()):
        for number, item in enumerate(each.get("columns") or ()):
            if (each.get("name"), item.get("name")) == (model, column):
                at = ("models", index, "columns", number)
                return source, (*at, *_META) if (*at, *_META) in source.lines else (*at, "meta")
    return source, ("models",)
