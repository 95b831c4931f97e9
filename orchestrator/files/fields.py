"""Fields: the columns of a view that a file holds, under their headings."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from pydantic import SecretStr

from orchestrator.config import Config
from orchestrator.config.dialect import NAMES
from orchestrator.config.exports import Export, FieldChoice, Kind
from orchestrator.errors import valid_names
from orchestrator.warehouse.contract import ColumnFacts, LabelError, ViewColumn

_OWN_LANGUAGES = ("en", "nl")
DEFAULT: dict[Kind, tuple[str, ...]] = {
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


@dataclass(frozen=True)
class FileField:
    """A field of a file: its column, heading, labels in place of values, and whether hashed.

    `label` and `facts` only describe it: the label of the column in the export's language, and what
    the view's YAML promises of the column. A hash is the lower-case hex of SHA-256 over the salt's
    and then the value's bytes in UTF-8.
    """

    column: str
    heading: str
    is_hashed: bool
    value_labels: dict[str, str]
    salt: SecretStr | None = None
    label: str | None = None
    facts: ColumnFacts = field(default=ColumnFacts(), repr=False)


def resolve(
    config: Config, export: Export, kind: Kind, columns: Sequence[ViewColumn]
) -> list[FileField]:
    """Return the fields of an export's file.

    Raises ConfigError, at the key of exports.yml, for a column that the view does not have, or
    two fields under one heading; LabelError where labels are missing or are not text.
    """
    key = f"{kind}_fields"
    chosen: list[tuple[str, FieldChoice]]
    given = getattr(export.content, key)
    if given == "default":
        given = [FieldChoice(column=name) for name in DEFAULT[kind]]
    plural = "activities" if kind == "activity" else "broadcasts"
    chosen = [(key, choice) for choice in given]
    chosen += [
        ("additional_fields", item) for item in getattr(export.content.additional_fields, plural)
    ]
    known = {column.name: column for column in columns}
    fields: dict[str, FileField] = {}
    lacking: list[str] = []
    for at, choice in chosen:
        column = known.get(choice.column)
        if column is None:
            view = f"{plural}_daily"
            raise config.error(export, at, _unknown(choice.column, f"column in {view}", known))
        resolved = _field(choice, column, export.dialect.labels, lacking)
        try:
            resolved.heading.encode(export.dialect.encoding)
        except UnicodeEncodeError as error:
            message = f"the heading '{resolved.heading}' has no place in {export.dialect.encoding}"
            raise config.error(export, at, message) from error
        if resolved.heading in fields:
            raise config.error(export, at, f"two fields under the heading '{resolved.heading}'")
        fields[resolved.heading] = resolved
    if lacking:
        message = f"the YAML of {plural}_daily has no '{export.dialect.labels}' label of"
        message += f" {', '.join(lacking)}; add it to config.meta there"
        raise LabelError(str(config.error(export, "labels", message)))
    return list(fields.values())


def check_activity_types(config: Config, export: Export, columns: Sequence[ViewColumn]) -> None:
    """Raise ConfigError where activity_types names a code that the view does not define."""
    if export.content.activity_types == "all":
        return
    codes = next(column.values for column in columns if column.name == "activity")
    for code in export.content.activity_types:
        if code not in codes:
            raise config.error(export, "activity_types", _unknown(code, "activity", codes))


def _field(choice: FieldChoice, column: ViewColumn, language: str, lacking: list[str]) -> FileField:
    """Return a field; what has no label in the language is added to `lacking`."""
    heading, label, values = choice.heading, None, {}
    if language != NAMES:
        heading = heading or column.label(language)
        label = None if column.errors else column.labels.get(language)
        values = column.labels_of_values(language)
        # In our own languages a column without a label has its name as the heading: a team may add
        # a column without giving it labels.
        if language not in _OWN_LANGUAGES:
            lacking += [] if heading else [column.name]
            unnamed = [value for value in column.values if value not in values]
            lacking += [f"{column.name} ({', '.join(unnamed)})"] if unnamed else []
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
