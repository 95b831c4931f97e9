"""Patterns of folders and file names, such as `activity_{brand}_{window_start:%Y%m%d}`."""

import functools
import itertools
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from string import Formatter
from typing import TypeAlias, TypeVar
from zoneinfo import ZoneInfo

from orchestrator.windows import Interval, Window

TIME_CODES = r"%(?:-?[dHIjmMSy]|[aAbBfGpuUVwWYz%])"
"""The strftime codes that Python (for file names) and DuckDB (for rows) format in the same way."""
# A wildcard path stands for all paths of a pattern. In place of a time it has control characters.
# Each of them stands for one character of a set. A pattern itself has no control characters.
_BRAND = "\0"  # any brand of `*`, of any length
_SETS = {
    "\1": "0123456789",
    "\2": "01",
    "\3": "0123",
    "\4": "012",
    "\5": "0123456",
    "\6": "abcdefghijklmnopqrstuvwxyz",
    "\7": "+-",
}
_WILDCARDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("Y", "G"), ("\1\1\1\1",)),
    **dict.fromkeys(("m", "I"), ("\2\1",)),
    **dict.fromkeys(("M", "S", "U", "V", "W"), ("\5\1",)),
    **dict.fromkeys(("u", "w"), ("\1",)),
    **dict.fromkeys(("a", "b"), ("\6\6\6",)),
    **dict.fromkeys(("-d", "-H", "-I", "-m", "-M", "-S", "-y"), ("\1", "\1\1")),
    "A": tuple("\6" * length for length in range(6, 10)),
    "B": tuple("\6" * length for length in range(3, 10)),
    "d": ("\3\1",),
    "f": ("\1" * 6,),
    "H": ("\4\1",),
    "j": ("\3\1\1",),
    "-j": ("\1", "\1\1", "\1\1\1"),
    "p": ("\6\6",),
    "y": ("\1\1",),
    "z": ("\7\1\1\1\1",),
    "%": ("%",),
}
"""The wildcards for the text of each strftime code, one for each length that the text can have."""
_LONGEST_NAME = 200  # bytes; file systems allow 255, and the name of a part file is longer
_LONGEST_PATH = 1000  # bytes; PATH_MAX is 4096, and the folder of the destination is added
_T = TypeVar("_T")
_MOMENTS = ("window_start", "window_end")
_REVISION = "revision"
_REVISIONS = (1, 2, 11, 12, 21, 111)  # next to other digits, two of these can give the same text
_Part: TypeAlias = tuple[str, str | None, str | None, str | None]
"""One part of a pattern, as string.Formatter.parse yields it: literal text, and then the name,
format and conversion of a placeholder."""
_PLACEHOLDERS = "{brand}, {revision}, {window_start:%Y%m%d}, {window_end:%Y%m%d}"


def check_pattern(pattern: str) -> str:
    """Return the pattern. Raises ValueError with the placeholders and characters that are valid."""
    try:
        parts = list(Formatter().parse(pattern))
    except ValueError as error:
        raise ValueError(f"{error}; a pattern may contain {_PLACEHOLDERS}") from error
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if name in ("brand", _REVISION) and spec:
            raise ValueError(f"{{{name}}} takes no format; write {{{name}}} alone")
        if name not in ("brand", _REVISION, *_MOMENTS) or conversion:
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
    """Return the brand. Raises ValueError if it cannot be part of a file name."""
    if not brand.strip() or brand in (".", "..") or any(map(_is_unsafe_in_names, brand)):
        raise ValueError(
            "a brand is part of file names: it cannot be empty, '.' or '..', "
            "or contain a slash, a backslash or a control character"
        )
    return brand


def check_path(path: str) -> str:
    """Return the path of a file.

    Raises ValueError if a name in it is too long for file systems, or begins with a dot: such a
    name is `..`, or a hidden file, or could be a file that the outbox needs, such as its lock.
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
    """Return a text that is equal for two paths if a receiver's file system may treat them as one.

    Such paths differ only in case, in Unicode normalization, or in dots and spaces at the end of a
    name, which Windows removes.
    """
    if not path.isascii():
        path = unicodedata.normalize("NFC", path)
    folded = unicodedata.normalize("NFC", path.casefold())
    return "/".join(name.rstrip(". ") for name in folded.strip("/").split("/"))


def unportable(path: str) -> str | None:
    """Return the reason why Windows or an object store refuses or changes a path, or None.

    Source: Microsoft, "Naming Files, Paths, and Namespaces".
    """
    for name in path.strip("/").split("/"):
        if refused := re.search(r'[<>:"|?*]', name):
            return f"'{name}' contains {refused[0]}"
        if name != name.rstrip(". "):
            return f"'{name}' ends with a dot or a space"
        if re.fullmatch(
            r"(con|prn|aux|nul|com\d|lpt\d)", name.partition(".")[0].strip().casefold()
        ):
            return f"'{name}' is the name of a device"
    return None


def wildcard_paths(pattern: str, *, brand: str | None) -> list[str]:
    """Return the wildcard paths of a pattern. Without a `brand` they have a wildcard for it (`*`).

    Together they match each path that the pattern has for any window, and some more: a wildcard
    for the day of the month also matches 39.
    """
    choices: list[Sequence[str]] = []
    for literal, name, spec, _ in _parsed(pattern):
        choices.append([literal])
        if name == "brand":
            choices.append([_BRAND if brand is None else brand])
        elif name == _REVISION:
            choices.append(["\1", "\1\1", "\1\1\1"])
        elif name:
            codes = re.split(r"%(-?[A-Za-z%])", spec or "")
            choices += [_WILDCARDS[c] if at % 2 else [c] for at, c in enumerate(codes)]
    paths = (path_identity("".join(parts)) for parts in itertools.product(*choices))
    return list(dict.fromkeys(paths))


def conflicts(found: Iterable[tuple[str, _T]], brands: Collection[str]) -> Iterator[tuple[_T, _T]]:
    """Yield the owners of each pair of wildcard paths that match a common path.

    `found` has each wildcard path with its owner. `brands` are those with an entry in exports.yml:
    `*` does not include them. Two wildcard paths of `*` are compared for the same brand only,
    because the brands that `*` includes are not known before a run.
    """
    owners: dict[str, list[_T]] = {}
    for wildcard, owner in found:
        owners.setdefault(wildcard, []).append(owner)
    for first, *others in owners.values():
        yield from ((first, other) for other in others)
    listed = {path_identity(brand) for brand in brands}
    stars = [wildcard for wildcard in owners if _BRAND in wildcard]
    plain = [wildcard for wildcard in owners if _BRAND not in wildcard]
    of_star = (pair for pair in itertools.product(stars, plain) if _star_matches(*pair, listed))
    for one, two in itertools.chain(_overlapping(owners), of_star):
        yield owners[one][0], owners[two][0]


def _overlapping(wildcards: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each pair of different wildcard paths of the same length that match a common path.

    A thousand exports would be half a million pairs. So paths are grouped by the positions of their
    wildcards, and two groups are joined on their texts without those positions.
    """
    by_positions: dict[tuple[int, ...], list[str]] = {}
    for wildcard in wildcards:
        positions = (at for at, character in enumerate(wildcard) if character in _SETS)
        by_positions.setdefault((len(wildcard), *positions), []).append(wildcard)
    for one, two in itertools.combinations(by_positions, 2):
        if one[0] != two[0]:
            continue
        blanks = {*one[1:], *two[1:]}
        alike: dict[str, list[str]] = {}
        for wildcard in by_positions[one]:
            alike.setdefault(_blanked(wildcard, blanks), []).append(wildcard)
        for wildcard in by_positions[two]:
            for other in alike.get(_blanked(wildcard, blanks), ()):
                if all(map(_overlap, wildcard, other)):
                    yield other, wildcard


def _blanked(wildcard: str, positions: set[int]) -> str:
    return "".join(" " if at in positions else character for at, character in enumerate(wildcard))


def _overlap(one: str, two: str) -> bool:
    """Tell whether two characters of wildcard paths can stand for the same character."""
    return one == two or bool({*_SETS.get(one, one)} & {*_SETS.get(two, two)})


def _star_matches(star: str, other: str, listed: set[str]) -> bool:
    """Tell whether a wildcard path of `*` matches another one for a brand that is not `listed`."""
    count = star.count(_BRAND)
    length, rest = divmod(len(other) - len(star) + count, count)  # the length of the brand
    if length < 1 or rest:
        return False
    brand, at = "", 0
    for character in star:
        if character == _BRAND:
            part, at = other[at : at + length], at + length
            if "/" in part or (brand and part != brand):
                return False
            brand = part
        elif not _overlap(character, other[at]):
            return False
        else:
            at += 1
    return brand not in listed


def names_revisions(pattern: str) -> bool:
    """Tell whether each revision of a window has its own path."""
    return any(name == _REVISION for _, name, _, _ in _parsed(pattern))


def render_path(
    pattern: str, *, brand: str, window: Window, timezone: ZoneInfo, revision: int = 1
) -> str:
    """Return the path of a window: the pattern with brand, revision and local times filled in.

    When the clocks are set back, `02:00` occurs twice. The second one gets its UTC offset
    (`0200+0100`), so that two windows never share a name.
    """
    result = []
    for literal, name, spec, _ in _parsed(pattern):
        result.append(literal)
        if name == "brand":
            result.append(brand)
        elif name == _REVISION:
            result.append(str(revision))
        elif name:
            moment = window.start if name == "window_start" else window.end
            result.append(_local(moment.astimezone(timezone), spec or ""))
    return "".join(result)


def repeats(pattern: str, interval: Interval) -> str | None:
    """Return a path that two windows of this interval would share, or None."""
    # The text before the first time or revision is the same in all paths, so it is left out. Most
    # exports differ in that text alone, so they share one entry of the cache of _repeated.
    varying = (*_MOMENTS, _REVISION)
    parts = (*itertools.dropwhile(lambda part: part[1] not in varying, _parsed(pattern)),)
    window = _repeated((("", *parts[0][1:]), *parts[1:]) if parts else (), interval)
    if window is None:
        return None
    return render_path(pattern, brand="", window=window, timezone=ZoneInfo("UTC"))


def _is_unsafe_in_names(character: str) -> bool:
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
    """Return a window whose path is also that of an earlier window, or None.

    It is cached because it compares thousands of windows, and most exports share one pattern.
    """
    seen: set[str] = set()
    has_revision = any(name == _REVISION for _, name, _, _ in parts)
    for start, end in _sample(interval):
        moments = {"window_start": start, "window_end": end}
        texts = [
            (literal, name, moments[name].strftime(spec or "") if name in moments else "")
            for literal, name, spec, _ in parts
        ]
        for revision in _REVISIONS if has_revision else (1,):
            path = "".join(
                f"{literal}{revision if name == _REVISION else text}"
                for literal, name, text in texts
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
    """Return windows that contain every possible repetition of a path.

    These are all windows of two days, and then the first window of each day in ten years.
    """
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
