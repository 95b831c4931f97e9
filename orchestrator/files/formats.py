"""File formats: everything that decides the bytes of a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.config import Config
from orchestrator.config.dialect import Dialect
from orchestrator.config.exports import KINDS, Content, Export, Kind
from orchestrator.errors import ConfigError
from orchestrator.files import fields
from orchestrator.files.fields import FileField
from orchestrator.warehouse.contract import LabelError, ViewColumn
from orchestrator.warehouse.sql import literal
from orchestrator.warehouse.stage import KEYS, VIEWS


@dataclass(frozen=True)
class FileFormat:
    """What decides the bytes of a file of one kind; brands that share it are written in one go."""

    kind: Kind
    dialect: Dialect
    content: Content
    fields: Sequence[FileField]
    key: Sequence[str] = ()
    """The columns of the view that together are unique within a brand, also those not in a file."""

    @property
    def identity(self) -> str:
        """A text that forms share exactly when they are alike; it holds secrets."""
        salts = [field.salt and field.salt.get_secret_value() for field in self.fields]
        return f"{self.kind} {self.dialect!r} {self.content!r} {self.fields!r} {salts!r}"

    def columns(self) -> set[str]:
        """Return the columns of the view that the file is made of."""
        columns = {field.column for field in self.fields} | KEYS[self.kind]
        return columns | ({"is_machine"} if self._only_people else set())

    def condition(self) -> str:
        """Return the SQL condition of the rows that the file holds."""
        conditions = ["true"]
        if self.kind == "activity" and self.content.activity_types != "all":
            codes = ", ".join(literal(code) for code in self.content.activity_types)
            conditions.append(f"activity in ({codes})")
        if self._only_people:
            conditions.append("is_machine is not true")
        return " and ".join(conditions)

    @property
    def _only_people(self) -> bool:
        return self.kind == "activity" and self.content.machine_activity == "exclude"


ViewColumns = Mapping[str, Sequence[ViewColumn]]
"""The columns of the two views, by the kind of file that is made of them."""


def file_format(config: Config, export: Export, kind: Kind, columns: ViewColumns) -> FileFormat:
    """Return the format of an export's file of one kind.

    Raises ConfigError where the export names a column that the view does not have.
    """
    if kind == "activity":
        fields.check_activity_types(config, export, columns[kind])
    resolved = fields.resolve(config, export, kind, columns[kind])
    key = [column.name for column in columns[kind] if column.facts.is_key]
    key = [name for name in key if name != "brand"]  # a file has one brand
    return FileFormat(kind, export.dialect, export.content, resolved, key)


def label_errors(config: Config, columns: ViewColumns) -> list[str]:
    """Return what is wrong with the labels that exports need; each stops its exports alone."""
    found: dict[str, None] = {}
    for export in config.exports:
        try:
            for kind in KINDS:
                file_format(config, export, kind, columns)
        except LabelError as error:
            found[str(error)] = None
    return list(found)


def needed_columns(config: Config, columns: ViewColumns) -> dict[str, set[str]]:
    """Check every export against the views, and return the columns that files need, by view.

    An export whose labels are wrong needs none, for it is not written. Raises ConfigError that
    lists what the views lack.
    """
    problems = []
    needed: dict[str, set[str]] = {}
    names = {kind: {column.name for column in columns[kind]} for kind in KINDS}
    for kind, known in names.items():
        if lacking := ", ".join(sorted(KEYS[kind] - known)):
            raise ConfigError(
                f"{VIEWS[kind]} has no column {lacking}: files are parted and ordered by "
                f"{', '.join(sorted(KEYS[kind]))}; keep them in its SQL and its YAML"
            )
    for export in config.exports:
        try:
            for kind in KINDS:
                wanted = file_format(config, export, kind, columns).columns()
                if lacking := ", ".join(wanted - names[kind]):
                    message = f"needs the column {lacking}, which {VIEWS[kind]} does not have"
                    raise config.error(export, "machine_activity", message)
                needed.setdefault(VIEWS[kind], set()).update(wanted)
        except LabelError:
            continue
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return needed
