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
        raise ValueError("expected one or more characters, no double quote and no line break")
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
    """The form of a file: everything that decides how a row becomes bytes."""

    timezone: TimeZone = ZoneInfo("UTC")
    """An IANA name: the zone of windows, of file names, and of times in the files."""
    delimiter: _Delimiter = ","
    """What stands between two fields: one or more characters."""
    header: bool = True
    """Whether the first line holds the headings."""
    labels: Literal["en", "nl", "names"] = "en"
    """Headings and names of activities: `en`, `nl`, or `names` for those of columns and codes."""
    quoting: Literal["minimal", "all"] = "minimal"
    """Quotes around fields that need them (`minimal`, RFC 4180), or around `all`."""
    null: _Null = ""
    """What stands for null; an empty text is "" in quotes, so the two differ."""
    newlines: Literal["keep", "space"] = "keep"
    """Line breaks inside a text: `keep` them, or write each as a `space`."""
    line_ending: Literal["lf", "crlf"] = "lf"
    """What ends a line: `lf` or `crlf`."""
    encoding: _Encoding = "utf-8"
    """Such as utf-8-sig, utf-16, latin-1, cp1252; a character that it lacks is an error."""
    timestamp_format: _TimestampFormat = "%Y-%m-%d %H:%M:%S"
    """The codes of strftime, local time; %z is the UTC offset."""
    compression: Compression = "none"
    """`gzip`, `zstd` or `zip`: adds .gz, .zst or .zip to the name."""
    encrypt_for: _PublicKey | None = None
    """Path of a receiver's OpenPGP public key: files are encrypted, .pgp is added to the name."""

    @model_validator(mode="after")
    def _null_stands_apart(self) -> "Dialect":
        if (self.null + self.delimiter).index(self.delimiter) < len(self.null):
            raise ValueError("null must not hold the delimiter, nor end in a part of it")
        try:
            f"{self.delimiter}{self.null}".encode(self.encoding)
        except UnicodeEncodeError as error:
            raise ValueError(f"delimiter or null has no place in {self.encoding}") from error
        return self

    @property
    def packed_suffix(self) -> str:
        """What compression and encryption add to a name."""
        return COMPRESSION_SUFFIXES[self.compression] + (
            public_key.OPENPGP_SUFFIX if self.encrypt_for else ""
        )
