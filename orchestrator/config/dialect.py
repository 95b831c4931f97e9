"""The dialect of a file: how a row becomes bytes."""

import codecs
import re
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, SecretStr, model_validator

from orchestrator.config import openpgp
from orchestrator.config.patterns import TIME_CODES
from orchestrator.config.values import FilePath, Strict, TimeZone, text_like

if TYPE_CHECKING:
    from pysequoia import PySigner

Compression = Literal["none", "gzip", "zstd", "zip"]
COMPRESSION_SUFFIXES: dict[Compression, str] = {
    "none": "",
    "gzip": ".gz",
    "zstd": ".zst",
    "zip": ".zip",
}


def _delimiter(value: str) -> str:
    if not value or re.search('["\r\n]', value):
        raise ValueError("expected one or more characters, without double quote or line break")
    if value == r"\t":
        raise ValueError(r'for a tab, write "\t" in double quotes')
    return value


def _null(value: str) -> str:
    if re.search('["\r\n]', value):
        raise ValueError("expected text without a double quote or a line break")
    return value


def _encoding(value: str) -> str:
    no_character_sets = {"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"}
    try:
        codec = codecs.lookup(value)
        "".encode(value)  # a codec from bytes to bytes, such as zip, refuses
    except (LookupError, ValueError) as error:
        raise ValueError("expected an encoding such as utf-8, utf-16, latin-1, cp1252") from error
    if codec.name in no_character_sets:
        raise ValueError("expected an encoding such as utf-8, utf-16, latin-1, cp1252")
    return "utf-8" if codec.name == "utf-8" else value


def _timestamp_format(value: str) -> str:
    rest = re.sub(TIME_CODES, "", value)
    if not value or re.search('["\r\n]', value) or "%" in rest:
        raise ValueError(
            "expected the codes %Y %m %d %H %M %S %f %z %y %j %b %B %a %A %I %p %u %w %G %V %U "
            "%W %%, or %-d %-m %-H %-I %-M %-S %-j %-y for no leading zero"
        )
    return value


NAMES = "names"
"""The value of `labels` that takes the names of columns and codes."""
_LANGUAGE = "^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*$"


def _labels(value: str) -> str:
    if not re.fullmatch(_LANGUAGE, value):
        raise ValueError("expected a language such as en, nl or pt-BR, or names")
    return value


_Labels = Annotated[str, AfterValidator(_labels), text_like(_LANGUAGE)]
_Delimiter = Annotated[
    str, AfterValidator(_delimiter), text_like(r'^(?!\\t$)[^"\r\n]+$', or_number=True)
]
_Null = Annotated[str, AfterValidator(_null), text_like(r'^[^"\r\n]*$', or_number=True)]
_Encoding = Annotated[str, AfterValidator(_encoding)]
_TimestampFormat = Annotated[
    str, AfterValidator(_timestamp_format), text_like(r'^[^"\r\n]+$', or_number=True)
]
_PublicKey = Annotated[FilePath, AfterValidator(openpgp.checked)]
_SecretKey = Annotated[FilePath, AfterValidator(openpgp.checked_secret)]


class Dialect(Strict):
    """How a row becomes bytes."""

    timezone: TimeZone = ZoneInfo("UTC")
    """IANA name of the time zone of windows, of file names and of times in the files."""
    delimiter: _Delimiter = ","
    """The text between two fields: one or more characters."""
    header: bool = True
    """Whether the first line has the headings."""
    labels: _Labels = "en"
    """A language that the columns' YAML has labels in; or `names`: the names of columns, codes."""
    quoting: Literal["minimal", "all"] = "minimal"
    """Quotes around fields that need them (`minimal`, RFC 4180), or around `all`."""
    null: _Null = ""
    """The text for null; an empty text is written "", in quotes, so the two differ."""
    newlines: Literal["keep", "space"] = "keep"
    """Line breaks inside a text: `keep` them, or write a `space` for each."""
    formulas: Literal["keep", "escape"] = "keep"
    """Text that a spreadsheet would run as a formula: `keep` it, or `escape` it with a '."""
    line_ending: Literal["lf", "crlf"] = "lf"
    """The end of each line: `lf` or `crlf`."""
    encoding: _Encoding = "utf-8"
    """Such as utf-8-sig, utf-16, latin-1, cp1252; a character it does not have is an error."""
    timestamp_format: _TimestampFormat = "%Y-%m-%d %H:%M:%S"
    """Codes of strftime for the local time; %z is the UTC offset."""
    compression: Compression = "none"
    """`gzip`, `zstd` or `zip`; adds .gz, .zst or .zip to the name."""
    encrypt_for: _PublicKey | None = None
    """Path of the receiver's OpenPGP public key, to encrypt for; adds .pgp to the name."""

    sign_with: _SecretKey | None = None
    """Path of the sender's OpenPGP secret key, to sign with; a file X in the clear gets X.sig."""
    sign_passphrase: SecretStr | None = None
    """Passphrase of that key, such as "{{ env_var('SIGN_PASSPHRASE') }}"."""

    @model_validator(mode="after")
    def _passphrase_is_for_a_key(self) -> "Dialect":
        if self.sign_passphrase and not self.sign_with:
            raise ValueError("sign_passphrase has no meaning without sign_with")
        return self

    @model_validator(mode="after")
    def _null_differs(self) -> "Dialect":
        if (self.null + self.delimiter).index(self.delimiter) < len(self.null):
            raise ValueError("null must not contain the delimiter, nor end in a part of it")
        try:
            f"{self.delimiter}{self.null}".encode(self.encoding)
        except UnicodeEncodeError as error:
            raise ValueError(f"{self.encoding} cannot encode delimiter or null") from error
        return self

    @property
    def has_signatures(self) -> bool:
        """Whether each file has a signature next to it; what is encrypted is signed within."""
        return self.sign_with is not None and self.encrypt_for is None

    def signer(self) -> "PySigner | None":
        """Return what signs the files, or None. Raises ValueError where the key is useless now."""
        passphrase = self.sign_passphrase.get_secret_value() if self.sign_passphrase else None
        return openpgp.signer(self.sign_with, passphrase) if self.sign_with else None

    @property
    def packed_suffix(self) -> str:
        """What compression and encryption add to a name."""
        return COMPRESSION_SUFFIXES[self.compression] + (
            openpgp.OPENPGP_SUFFIX if self.encrypt_for else ""
        )
