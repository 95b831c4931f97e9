"""The paths of the files that an exports.yml makes: each can be, and is one export's alone."""

from collections.abc import Sequence
from datetime import UTC, datetime

from orchestrator.config import patterns
from orchestrator.config.exports import Export
from orchestrator.config.problems import Problems


def refuse_shared(exports: Sequence[Export], problems: Problems) -> None:
    """Note as a problem each path that no file can have, or that is written more than once."""
    # The first of a month that is a Monday: there windows of every interval begin together.
    moment = datetime(2027, 2, 1, 0, 5)  # noqa: DTZ001 - local in each export's own zone
    owners: dict[str, int] = {}
    for index, export in enumerate(exports):
        at = moment.replace(tzinfo=export.timezone).astimezone(UTC)
        window = export.calendar.containing(at)
        own: set[str] = set()
        told: set[int] = set()  # one fact, however many of their files it is about
        for _, path in export.files(brand=export.brand, window=window):
            try:
                patterns.check_path(path)
            except ValueError as error:
                problems.add(("exports", index), str(error))
            owner = owners.setdefault(path.lstrip("/"), index)
            if owner not in told and (owner != index or path in own):
                told.add(owner)
                other = f"exports[{owner}]" if owner != index else "another of its files"
                problems.add(
                    ("exports", index),
                    f"would write the same path as {other} (such as '{path}'); "
                    "give one of them its own directory or file names",
                )
            own.add(path)
