"""File formats: everything that decides the bytes of a file, and the columns that it needs.

A file has fields. A field is a column of a view under a heading, with labels in place of some
values, or hashed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from pydantic import SecretStr

from orchestrator.config import Config
from orchestrator.config.dialect import NAMES, Dialect
from orchestrator.config.exports import KINDS, Content, Export, FieldChoice, Kind
from orchestrator.errors import ConfigError, valid_names
from orchestrator.warehouse.contract import ColumnFacts, LabelError, ViewColumn
from orchestrator.warehouse.sql import literal
from orchestrator.warehouse.stage import REQUIRED_COLUMNS, VIEWS

ViewColumns = Mapping[str, Sequence[ViewColumn]]
"""The columns of the two views, by the kind of the file that is written from them."""
DEFAULT_FIELDS: dict[Kind, tuple[str, ...]] = {
    "activity": (
        "broadcast_id",
        "customer_id",
        "external_customer_number",
        "email_address",
        "activity",
        "activity_date",
        "description",
    ),
    "broadcast": ("broadcast_id", "broadcast_type", "description", "subject", "sent_on"),
}
_COMPLETE_LANGUAGES = ("en", "nl")
"""In these every column of the product has a label."""


@dataclass(frozen=True)
class FileField:
    """A field of a file."""

    column: str
    heading: str
    is_hashed: bool
    """The file has the SHA-256 of salt and value, both in UTF-8, in lower-case hex."""
    value_labels: dict[str, str]
    """What the file has in place of some values."""
    salt: SecretStr | None = None
    label: str | None = None
    """The label of the column in the export's language, for the manifest."""
    facts: ColumnFacts = field(default=ColumnFacts(), repr=False)
    """What the view's YAML promises of the column, for the manifest."""


@dataclass(frozen=True)
class FileFormat:
    """All that decides the bytes of a file. Brands that share a format are written in one pass."""

    kind: Kind
    dialect: Dialect
    content: Content
    fields: Sequence[FileField]
    key: Sequence[str] = ()
    """The columns of the view that together are unique within a brand, also those not in a file."""

    @cached_property
    def identity(self) -> str:
        """A text that two formats share if and only if they are equal. It contains secrets."""
        salts = [field.salt and field.salt.get_secret_value() for field in self.fields]
        return f"{self.kind} {self.dialect!r} {self.content!r} {self.fields!r} {salts!r}"

    @property
    def unpacked(self) -> "FileFormat":
        """The same format without compression, encryption and signature."""
        plain = {"compression": "none", "encrypt_for": None, "sign_with": None}
        return replace(self, dialect=self.dialect.model_copy(update=plain))

    def columns(self) -> set[str]:
        """Return the columns of the view that are needed to write the file."""
        columns = {field.column for field in self.fields} | REQUIRED_COLUMNS[self.kind]
        return columns | ({"is_machine"} if self._excludes_machines else set())

    def condition(self) -> str:
        """Return the SQL condition that selects the rows of the file."""
        conditions = ["true"]
        if self.kind == "activity" and self.content.activity_types != "all":
            codes = ", ".join(literal(code) for code in self.content.activity_types)
            conditions.append(f"activity in ({codes})")
        if self._excludes_machines:
            conditions.append("is_machine is not true")
        return " and ".join(conditions)

    @property
    def _excludes_machines(self) -> bool:
        return self.kind == "activity" and self.content.machine_activity == "exclude"


def resolve(config: Config, export: Export, kind: Kind, columns: ViewColumns) -> FileFormat:
    """Return the format of an export's file of one kind.

    Raises ConfigError, at the key of exports.yml, if the view does not have a column or activity
    that the export names, or if two fields have the same heading; LabelError if a label is missing
    or is not text.
    """
    if kind == "activity":
        _check_activity_types(config, export, columns[kind])
    fields = _fields(config, export, kind, columns[kind])
    key = [column.name for column in columns[kind] if column.facts.is_key]
    key = [name for name in key if name != "brand"]  # a file has one brand
    return FileFormat(kind, export.dialect, export.content, fields, key)


def label_errors(config: Config, columns: ViewColumns) -> list[str]:
    """Return the errors in labels that exports need. Each stops only the exports that need it."""
    found: dict[str, None] = {}
    for export in config.exports:
        try:
            for kind in KINDS:
                resolve(config, export, kind, columns)
        except LabelError as error:
            found[str(error)] = None
    return list(found)


def needed_columns(config: Config, columns: ViewColumns) -> dict[str, set[str]]:
    """Check every export against the views, and return the columns that files need, by view.

    An export with a label error is left out, because its files are not written. Raises ConfigError
    that lists everything that the views do not have.
    """
    problems = []
    needed: dict[str, set[str]] = {}
    names = {kind: {column.name for column in columns[kind]} for kind in KINDS}
    for kind, known in names.items():
        if missing := ", ".join(sorted(REQUIRED_COLUMNS[kind] - known)):
            raise ConfigError(
                f"{VIEWS[kind]} has no column {missing}: files are divided and ordered by "
                f"{', '.join(sorted(REQUIRED_COLUMNS[kind]))}; keep them in its SQL and its YAML"
            )
    for export in config.exports:
        try:
            for kind in KINDS:
                wanted = resolve(config, export, kind, columns).columns()
                if missing := ", ".join(wanted - names[kind]):
                    message = f"needs the column {missing}, which {VIEWS[kind]} does not have"
                    raise config.error(export, "machine_activity", message)
                needed.setdefault(VIEWS[kind], set()).update(wanted)
        except LabelError:
            continue
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return needed


def _fields(
    config: Config, export: Export, kind: Kind, columns: Sequence[ViewColumn]
) -> list[FileField]:
    """Return the fields of an export's file. Raises as `resolve` does."""
    key = f"{kind}_fields"
    chosen: list[tuple[str, FieldChoice]]
    given = getattr(export.content, key)
    if given == "default":
        given = [FieldChoice(column=name) for name in DEFAULT_FIELDS[kind]]
    plural = "activities" if kind == "activity" else "broadcasts"
    chosen = [(key, choice) for choice in given]
    chosen += [
        ("additional_fields", item) for item in getattr(export.content.additional_fields, plural)
    ]
    known = {column.name: column for column in columns}
    fields: dict[str, FileField] = {}
    unlabelled: list[str] = []
    for at, choice in chosen:
        column = known.get(choice.column)
        if column is None:
            view = f"{plural}_daily"
            raise config.error(export, at, _unknown(choice.column, f"column in {view}", known))
        resolved = _field(choice, column, export.dialect.labels, unlabelled)
        try:
            resolved.heading.encode(export.dialect.encoding)
        except UnicodeEncodeError as error:
            encoding = export.dialect.encoding
            message = f"the heading '{resolved.heading}' cannot be encoded in {encoding}"
            raise config.error(export, at, message) from error
        if resolved.heading in fields:
            raise config.error(export, at, f"two fields have the heading '{resolved.heading}'")
        fields[resolved.heading] = resolved
    if unlabelled:
        message = f"the YAML of {plural}_daily has no '{export.dialect.labels}' label of"
        message += f" {', '.join(unlabelled)}; add it to config.meta there"
        raise LabelError(str(config.error(export, "labels", message)))
    return list(fields.values())


def _check_activity_types(config: Config, export: Export, columns: Sequence[ViewColumn]) -> None:
    if export.content.activity_types == "all":
        return
    codes = next(column.values for column in columns if column.name == "activity")
    for code in export.content.activity_types:
        if code not in codes:
            raise config.error(export, "activity_types", _unknown(code, "activity", codes))


def _field(
    choice: FieldChoice, column: ViewColumn, language: str, unlabelled: list[str]
) -> FileField:
    """Return a field. Columns and values without a label in `language` go into `unlabelled`."""
    heading, label, values = choice.heading, None, {}
    if language != NAMES:
        heading = heading or column.label(language)
        label = None if column.errors else column.labels.get(language)
        values = column.labels_of_values(language)
        # In the product's own languages a column without a label gets its name as the heading, so
        # that a team may add a column without labels. In another language it is an oversight.
        if language not in _COMPLETE_LANGUAGES:
            unlabelled += [] if heading else [column.name]
            unnamed = [value for value in column.values if value not in values]
            unlabelled += [f"{column.name} ({', '.join(unnamed)})"] if unnamed else []
    return FileField(
        column=column.name,
        heading=heading or column.name,
        is_hashed=choice.hash is not None,
        salt=choice.salt,
        value_labels=values,
        label=label,
        facts=column.facts,
    )


def _unknown(name: str, kind: str, valid: Collection[str]) -> str:
    return f"no {kind} '{name}'{valid_names(name, valid)}"
