"""The dialect of an export: how a row is formatted, compressed, encrypted and signed."""

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
    # Codecs of Python that are not character sets.
    escapes = {"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"}
    try:
        codec = codecs.lookup(value)
        "".encode(value)  # raises LookupError for a codec from bytes to bytes, such as zip
    except (LookupError, ValueError):
        codec = None
    if codec is None or codec.name in escapes:
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
"""The value of `labels` that writes the names of columns and the codes instead of labels."""
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
_PublicKey = Annotated[FilePath, AfterValidator(openpgp.check_public_key)]
_SecretKey = Annotated[FilePath, AfterValidator(openpgp.check_secret_key)]


class Dialect(Strict):
    """How a row is formatted, compressed, encrypted and signed."""

    timezone: TimeZone = ZoneInfo("UTC")
    """IANA name of the time zone of windows, of file names and of times in the files."""
    delimiter: _Delimiter = ","
    """The text between two fields: one or more characters."""
    header: bool = True
    """Whether the first line contains the headings of the columns."""
    labels: _Labels = "en"
    """Language of headings and activities, from the columns' YAML; `names`: columns and codes."""
    quoting: Literal["minimal", "all"] = "minimal"
    """Which fields are quoted: those that need it by RFC 4180 (`minimal`), or `all`."""
    null: _Null = ""
    """The text that is written for null; an empty text is written as "", so that the two differ."""
    newlines: Literal["keep", "space"] = "keep"
    """Line breaks inside a text: `keep` them, or replace each by a `space`."""
    formulas: Literal["keep", "escape"] = "keep"
    """Text that a spreadsheet would run as a formula: `keep` it, or `escape` it with a '."""
    line_ending: Literal["lf", "crlf"] = "lf"
    """The end of each line: `lf` or `crlf`."""
    encoding: _Encoding = "utf-8"
    """Such as utf-8-sig, utf-16 or cp1252; a character that it cannot encode is an error."""
    timestamp_format: _TimestampFormat = "%Y-%m-%d %H:%M:%S"
    """Format of local times, in codes of strftime; %z is the UTC offset."""
    compression: Compression = "none"
    """`gzip`, `zstd` or `zip`; adds .gz, .zst or .zip to the name."""
    encrypt_for: _PublicKey | None = None
    """Path of the receiver's OpenPGP public key: encrypts the files, and adds .pgp to the names."""
    sign_with: _SecretKey | None = None
    """Path of the sender's OpenPGP secret key; an unencrypted file X gets a signature X.sig."""
    sign_passphrase: SecretStr | None = None
    """Passphrase of the key in sign_with, such as "{{ env_var('SIGN_PASSPHRASE') }}"."""

    @model_validator(mode="after")
    def _passphrase_is_for_a_key(self) -> "Dialect":
        if self.sign_passphrase and not self.sign_with:
            raise ValueError("sign_passphrase has no meaning without sign_with")
        return self

    @model_validator(mode="after")
    def _null_differs(self) -> "Dialect":
        if (self.null + self.delimiter).index(self.delimiter) < len(self.null):
            raise ValueError("null must not contain the delimiter, nor end in its first characters")
        try:
            f"{self.delimiter}{self.null}".encode(self.encoding)
        except UnicodeEncodeError as error:
            raise ValueError(f"{self.encoding} cannot encode delimiter or null") from error
        return self

    @property
    def has_signatures(self) -> bool:
        """Whether each file has a signature file; an encrypted file has its signature inside."""
        return self.sign_with is not None and self.encrypt_for is None

    def signer(self) -> "PySigner | None":
        """Return the signer of the files, or None. Raises ValueError if the key cannot sign now."""
        passphrase = self.sign_passphrase.get_secret_value() if self.sign_passphrase else None
        return openpgp.signer(self.sign_with, passphrase) if self.sign_with else None

    @property
    def packed_suffix(self) -> str:
        """The extensions that compression and encryption add to a file name."""
        return COMPRESSION_SUFFIXES[self.compression] + (
            openpgp.OPENPGP_SUFFIX if self.encrypt_for else ""
        )
