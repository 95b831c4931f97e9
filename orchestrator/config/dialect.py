"""The dialect of a file: how a row becomes bytes."""

import codecs
import re
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, model_validator

from orchestrator.config import public_key
from orchestrator.config.patterns import TIME_CODES
from orchestrator.config.values import FilePath, Strict, TimeZone, text_like

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


_Delimiter = Annotated[
    str, AfterValidator(_delimiter), text_like(r'^(?!\\t$)[^"\r\n]+$', or_number=True)
]
_Null = Annotated[str, AfterValidator(_null), text_like(r'^[^"\r\n]*$', or_number=True)]
_Encoding = Annotated[str, AfterValidator(_encoding)]
_TimestampFormat = Annotated[
    str, AfterValidator(_timestamp_format), text_like(r'^[^"\r\n]+$', or_number=True)
]
_PublicKey = Annotated[FilePath, AfterValidator(public_key.checked)]


class Dialect(Strict):
    """How a row becomes bytes."""

    timezone: TimeZone = ZoneInfo("UTC")
    """IANA name of the time zone of windows, of file names and of times in the files."""
    delimiter: _Delimiter = ","
    """The text between two fields: one or more characters."""
    header: bool = True
    """Whether the first line has the headings."""
    labels: Literal["en", "nl", "names"] = "en"
    """Language of headings and activities: `en`, `nl`; or `names`: the names of columns, codes."""
    quoting: Literal["minimal", "all"] = "minimal"
    """Quotes around fields that need them (`minimal`, RFC 4180), or around `all`."""
    null: _Null = ""
    """The text for null; an empty text is written "", in quotes, so the two differ."""
    newlines: Literal["keep", "space"] = "keep"
    """Line breaks inside a text: `keep` them, or write a `space` for each."""
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
    def packed_suffix(self) -> str:
        """What compression and encryption add to a name."""
        return COMPRESSION_SUFFIXES[self.compression] + (
            public_key.OPENPGP_SUFFIX if self.encrypt_for else ""
        )
