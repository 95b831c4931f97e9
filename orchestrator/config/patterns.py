"""Paths: patterns of folders and file names: `activity_{brand}_{window_start:%Y%m%d}`."""

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
"""The strftime codes that mean the same to Python, for names, and to DuckDB, for rows."""
# A form of a path is its text with these characters where a time is: each is one character of the
# set. A pattern cannot contain control characters, so they are free for this.
_BRAND = "\0"  # any brand of `*`, of unknown length
_SETS = {
    "\1": "0123456789",
    "\2": "01",
    "\3": "0123",
    "\4": "012",
    "\5": "0123456",
    "\6": "abcdefghijklmnopqrstuvwxyz",
    "\7": "+-",
}
_FORMS: dict[str, tuple[str, ...]] = {
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
"""What each code of strftime writes, once for each length."""
_LONGEST_NAME = 200  # bytes; file systems take 255, and a part file's name adds to it
_LONGEST_PATH = 1000  # bytes; PATH_MAX is 4096, and the destination's own folder comes first
_T = TypeVar("_T")
_MOMENTS = ("window_start", "window_end")
_REVISION = "revision"
_REVISIONS = (1, 2, 11, 12, 21, 111)  # that read alike next to other digits
_Part: TypeAlias = tuple[str, str | None, str | None, str | None]
"""One part of a pattern as string.Formatter parses it: literal text, then a field's name, format
and conversion."""
_PLACEHOLDERS = "{brand}, {revision}, {window_start:%Y%m%d}, {window_end:%Y%m%d}"


def check(pattern: str) -> str:
    """Return the pattern. Raises ValueError that says what a pattern may contain."""
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
    """Return a text that two paths share exactly when some receiver may take them for one path.

    That is when they differ in case or Unicode form only, or in dots and spaces at the end of a
    name, which Windows drops.
    """
    if not path.isascii():
        path = unicodedata.normalize("NFC", path)
    folded = unicodedata.normalize("NFC", path.casefold())
    return "/".join(name.rstrip(". ") for name in folded.strip("/").split("/"))


def unportable(path: str) -> str | None:
    """Return why Windows or an object store refuses a path or changes it, or None.

    The source is Microsoft's page "Naming Files, Paths, and Namespaces".
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


def forms(pattern: str, *, brand: str | None) -> list[str]:
    """Return the forms of all paths of a pattern; without a brand, those for any brand of `*`.

    Together they match every path that the pattern gives at any moment, and some that it does not:
    the 39th of a month is not excluded.
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
            choices += [_FORMS[c] if at % 2 else [c] for at, c in enumerate(codes)]
    return [*{path_identity("".join(parts)): 1 for parts in itertools.product(*choices)}]


def meeting(found: Iterable[tuple[str, _T]], brands: Collection[str]) -> Iterator[tuple[_T, _T]]:
    """Yield the owners of each two forms that can be the forms of one path.

    `brands` are those with an export of their own, which `*` does not include. Two forms of `*` are
    compared for the same brand only: which brands it includes is not known before a run.
    """
    owners: dict[str, list[_T]] = {}
    for form, owner in found:
        owners.setdefault(form, []).append(owner)
    for first, *others in owners.values():
        yield from ((first, other) for other in others)
    own = {path_identity(brand) for brand in brands}
    for one, two in itertools.chain(_overlapping(owners), _included(owners, own)):
        yield owners[one][0], owners[two][0]


def _overlapping(forms: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each two different forms of the same length that have a path in common.

    Forms are grouped by where they have times. Two groups are compared by their texts without the
    places where either has a time: a thousand exports are a few groups, and half a million pairs.
    """
    by_mask: dict[tuple[int, ...], list[str]] = {}
    for form in forms:
        times = (at for at, character in enumerate(form) if character in _SETS)
        by_mask.setdefault((len(form), *times), []).append(form)
    for one, two in itertools.combinations(by_mask, 2):
        if one[0] != two[0]:
            continue
        blanks = {*one[1:], *two[1:]}
        alike: dict[str, list[str]] = {}
        for form in by_mask[one]:
            alike.setdefault(_blanked(form, blanks), []).append(form)
        for form in by_mask[two]:
            for other in alike.get(_blanked(form, blanks), ()):
                if all(map(_common, form, other)):
                    yield other, form


def _included(forms: Collection[str], own: set[str]) -> Iterator[tuple[str, str]]:
    """Yield each form of `*` with each form that it has for some brand that is not in `own`."""
    for star in (form for form in forms if _BRAND in form):
        for form in forms:
            if _BRAND not in form and _includes(star, form, own):
                yield star, form


def _blanked(form: str, positions: set[int]) -> str:
    return "".join(" " if at in positions else character for at, character in enumerate(form))


def _common(one: str, two: str) -> bool:
    """Tell whether two characters of forms can be the same character."""
    return one == two or bool({*_SETS.get(one, one)} & {*_SETS.get(two, two)})


def _includes(star: str, form: str, own: set[str]) -> bool:
    """Tell whether a form of `*` becomes another form for some brand that is not one of `own`."""
    count = star.count(_BRAND)
    length, rest = divmod(len(form) - len(star) + count, count)
    if length < 1 or rest:
        return False
    brand, at = "", 0
    for character in star:
        if character == _BRAND:
            part, at = form[at : at + length], at + length
            if "/" in part or (brand and part != brand):
                return False
            brand = part
        elif not _common(character, form[at]):
            return False
        else:
            at += 1
    return brand not in own


def names_revisions(pattern: str) -> bool:
    """Tell whether each revision of a window has a path of its own."""
    return any(name == _REVISION for _, name, _, _ in _parsed(pattern))


def render(
    pattern: str, *, brand: str, window: Window, timezone: ZoneInfo, revision: int = 1
) -> str:
    """Fill in a pattern with the brand, the revision and the window's bounds in local time.

    In the hour that a clock change repeats, `02:00` occurs twice. The second time its UTC offset
    is added (`0200+0100`), so that no two windows share a name.
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
    # The text before the first moment or revision is the same in all paths.
    varying = (*_MOMENTS, _REVISION)
    parts = (*itertools.dropwhile(lambda part: part[1] not in varying, _parsed(pattern)),)
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
