"""The content of a file: which columns and rows of the views it holds."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from orchestrator.config.values import Strict


class FieldChoice(Strict):
    """One column of a file: which, under which header, and whether hashed, with which salt."""

    column: str = Field(min_length=1)
    """A column of the view."""
    heading: str | None = Field(None, alias="as", min_length=1)
    """Its heading, in place of its label."""
    hash: Literal["sha256"] | None = None
    """`sha256`: lower-case hex of SHA-256 over the salt and the value, in UTF-8; null stays."""
    salt: SecretStr | None = Field(None, min_length=1)
    """What is hashed before the value, such as "{{ env_var('HASH_SALT') }}"."""

    @model_validator(mode="after")
    def _salt_is_for_a_hash(self) -> "FieldChoice":
        if self.salt and not self.hash:
            raise ValueError("salt has no meaning without hash: sha256")
        return self


def _field(value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    return {"column": value} if isinstance(value, str) else value


_Names = Annotated[list[str], Field(min_length=1)]
_Field = Annotated[FieldChoice, BeforeValidator(_field, json_schema_input_type=str | FieldChoice)]
_Fields = Literal["default"] | Annotated[list[_Field], Field(min_length=1)]


class AdditionalFields(Strict):
    """Columns that stand after the chosen ones."""

    activities: list[_Field] = Field([])
    """Columns of activities_daily."""
    broadcasts: list[_Field] = Field([])
    """Columns of broadcasts_daily."""


class Content(Strict):
    """Which columns and rows of the views a file holds."""

    activity_fields: _Fields = "default"
    """`default`, or a list of names, or of {column: …, as: …, hash: sha256, salt: …}."""
    broadcast_fields: _Fields = "default"
    """The fields of the broadcast file, likewise."""
    additional_fields: AdditionalFields = AdditionalFields()
    """Fields that follow those, such as {activities: [os, url]}."""
    activity_types: Literal["all"] | _Names = "all"
    """`all`, or [broadcast, open, click, soft_bounce, hard_bounce, complaint, unsubscribe]."""
    machine_activity: Literal["include", "exclude"] = "include"
    """Opens and clicks by machines: `include` or `exclude` them."""

    @property
    def choice(self) -> str:
        """Which activities a file holds, as a text that is alike where they are."""
        types = ["all"] if self.activity_types == "all" else sorted({*self.activity_types})
        return f"{','.join(types)} {self.machine_activity}"
