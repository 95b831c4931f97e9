"""Paths: patterns of folders and file names: `activity_{brand}_{window_start:%Y%m%d}`."""

import functools
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from itertools import dropwhile
from string import Formatter
from typing import TypeAlias
from zoneinfo import ZoneInfo

from orchestrator.windows import Interval, Window

TIME_CODES = r"%(?:-?[dHIjmMSy]|[aAbBfGpuUVwWYz%])"
"""The strftime codes that mean the same to Python, for names, and to DuckDB, for rows."""
_LONGEST_NAME = 200  # bytes; file systems take 255, and a part file's name adds to it
_LONGEST_PATH = 1000  # bytes; PATH_MAX is 4096, and the destination's own folder comes first
_MOMENTS = ("window_start", "window_end")
_Part: TypeAlias = tuple[str, str | None, str | None, str | None]
"""One part of a pattern as string.Formatter parses it: literal text, then a field's name, format
and conversion."""
_PLACEHOLDERS = "{brand}, {window_start:%Y%m%d}, {window_end:%Y%m%d}"


def check(pattern: str) -> str:
    """Return the pattern. Raises ValueError that says what a pattern may contain."""
    try:
        parts = list(Formatter().parse(pattern))
    except ValueError as error:
        raise ValueError(f"{error}; a pattern may contain {_PLACEHOLDERS}") from error
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if name not in ("brand", *_MOMENTS) or conversion or (name == "brand" and spec):
            raise ValueError(f"unknown {{{name}}}; a pattern may contain {_PLACEHOLDERS}")
        if name in _MOMENTS and not re.search("%[a-zA-Z]", spec or ""):
            raise ValueError(f"{{{name}}} needs a format, such as {{{name}:%Y%m%d}}")
        if name in _MOMENTS and "%" in re.sub(TIME_CODES, "", spec or ""):
            raise ValueError(f"'{spec}' has a code other than %Y %m %d %H %M %S %j %G %V %z …")
    if re.search(r"[\x00-\x1f\\]", pattern):
        raise ValueError("a path cannot contain a backslash or a control character")
    if any(segment.startswith(".") for segment in pattern.split("/")):
        raise ValueError("a path has no '.' or '..', and no name that begins with a dot")
    return pattern


def check_brand(brand: str) -> str:
    """Return the brand. Raises ValueError where it cannot be part of a file name."""
    if not brand.strip() or brand in (".", "..") or any(map(_is_no_part_of_a_name, brand)):
        raise ValueError(
            "a brand is part of file names: it cannot be empty, '.' or '..', "
            "or contain a slash, a backslash or a control character"
        )
    return brand


def check_path(path: str) -> str:
    """Return the path of a file.

    Raises ValueError where a name is too long for file systems, or begins with a dot: it would lead
    upwards, be hidden, or be one of the files that the outbox keeps for itself.
    """
    for name in path.split("/"):
        if name.startswith("."):
            raise ValueError(f"the path '{path[:40]}' has a name that begins with a dot")
        if len(name.encode()) > _LONGEST_NAME:
            raise ValueError(f"the name '{name[:40]}…' is longer than {_LONGEST_NAME} bytes")
    if len(path.encode()) > _LONGEST_PATH:
        raise ValueError(f"the path '{path[:40]}…' is longer than {_LONGEST_PATH} bytes")
    return path


def path_identity(path: str) -> str:
    """Return a form that is the same for paths that some receiver takes for one file.

    Those are alike after NFC, after case folding, and without dots and spaces at the end of each
    name: macOS normalises names, Windows ignores case and drops those ends.
    """
    if not path.isascii():
        path = unicodedata.normalize("NFC", path)
    folded = unicodedata.normalize("NFC", path.casefold())
    return "/".join(name.rstrip(". ") for name in folded.strip("/").split("/"))


def render(pattern: str, *, brand: str, window: Window, timezone: ZoneInfo) -> str:
    """Fill in a pattern with the brand and the window's bounds in local time.

    In the hour that a clock change repeats, `02:00` occurs twice. The second time its UTC offset
    is added (`0200+0100`), so that no two windows share a name.
    """
    result = []
    for literal, name, spec, _ in _parsed(pattern):
        result.append(literal)
        if name == "brand":
            result.append(brand)
        elif name:
            moment = window.start if name == "window_start" else window.end
            result.append(_local(moment.astimezone(timezone), spec or ""))
    return "".join(result)


def repeats(pattern: str, interval: Interval) -> str | None:
    """Return a path that two windows of this interval would share, or None."""
    # The text before the first moment is the same in all paths.
    parts = (*dropwhile(lambda part: part[1] not in _MOMENTS, _parsed(pattern)),)
    window = _repeated((("", *parts[0][1:]), *parts[1:]) if parts else (), interval)
    if window is None:
        return None
    return render(pattern, brand="", window=window, timezone=ZoneInfo("UTC"))


def _is_no_part_of_a_name(character: str) -> bool:
    """Tell whether a character separates names, or breaks or reorders a line of text (UAX 9)."""
    return (
        character in "/\\"
        or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(character)
        in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    )


@functools.lru_cache(maxsize=256)
def _parsed(pattern: str) -> tuple[_Part, ...]:
    return tuple(Formatter().parse(pattern))


@functools.lru_cache(maxsize=256)
def _repeated(parts: tuple[_Part, ...], interval: Interval) -> Window | None:
    """Return a window whose path another window has too.

    It is cached because a thousand exports mostly share one pattern, and it takes a moment.
    """
    seen: set[str] = set()
    for start, end in _sample(interval):
        moments = {"window_start": start, "window_end": end}
        path = "".join(
            literal + (moments[name].strftime(spec or "") if name in moments else "")
            for literal, name, spec, _ in parts
        )
        if path in seen:
            return Window(start, end)
        seen.add(path)
    return None


def _local(moment: datetime, spec: str) -> str:
    if moment.fold and re.search("%-?[HI]", spec) and "%z" not in spec:
        spec += "%z"
    return moment.strftime(spec)


def _sample(interval: Interval) -> list[tuple[datetime, datetime]]:
    """Return windows that show any repetition: all of two days, one of each day of ten years."""
    step = timedelta(minutes=interval.minutes or 24 * 60)
    first = datetime(2027, 1, 1, tzinfo=UTC)
    starts = {first + n * timedelta(days=1) for n in range(10 * 366)}
    starts |= {first + n * step for n in range(timedelta(days=2) // step)}
    if interval is Interval.WEEKLY:
        starts = {start for start in starts if start.weekday() == 0}
        step = timedelta(days=7)
    elif interval is Interval.MONTHLY:
        starts = {start for start in starts if start.day == 1}
        ends = {start: (start + timedelta(days=32)).replace(day=1) for start in starts}
        return sorted(ends.items())
    return sorted((start, start + step) for start in starts)
