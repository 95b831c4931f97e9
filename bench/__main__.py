"""Measure this product against limits and other tools: `make bench`, or `python bench`.

README.md next to this file explains each figure.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests/support"))  # the servers that tests start

import figures
import loads
import uploads
import warehouses
from figures import FULL, Figure, Size

_FIGURES: dict[str, Callable[[Size], Iterator[Figure]]] = {
    "idle": figures.idle,
    "year": figures.year,
    "small": figures.small,
    "history": figures.history,
    "late": figures.late,
    "week": figures.week,
    "window": figures.window,
    "load": loads.load,
    "load-postgres": loads.postgres,
    "postgres": warehouses.copy,
    "libraries": warehouses.libraries,
    "upload": uploads.upload,
    "many": uploads.files,
    "memory": figures.memory,
    "load-memory": loads.memory,
}
_ROW = "{:<66} {:>7} {:>6} {:>9} {:>9} {:>7} {:>7}  {}"


def main() -> int:
    """Print the requested figures; return 1 if one of them misses its goal.

    The goals are meant for `FULL` rows. With fewer rows, only limits of memory are judged.
    """
    arguments = _arguments()
    names = arguments.only.split(",") if arguments.only else list(_FIGURES)
    folder = Path(tempfile.mkdtemp(prefix="bench", dir=arguments.folder))
    for name in (
        "DBT_PROJECT_DIR",
        "DBT_PROFILES_DIR",
        "ORCHESTRATE_CONFIG",
        "DUCKDB_MEMORY_LIMIT",
        "PYTHONDONTWRITEBYTECODE",  # an installed package has its bytecode
    ):
        os.environ.pop(name, None)
    print(_ROW.format("figure", "ratio", "CPU", "s", "to s", "MB", "to MB", "goal"))
    missed = False
    try:
        for name in names:
            place = folder / name
            place.mkdir()
            for figure in _FIGURES[name](Size(place, arguments.rows, arguments.rounds)):
                print(_line(figure), flush=True)
                judged = arguments.rows >= FULL or figure.base is None
                missed = missed or (judged and not figure.met)
            shutil.rmtree(place)
    finally:
        shutil.rmtree(folder)
    return int(missed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=FULL, help="rows in the window")
    parser.add_argument("--rounds", type=int, default=5, help="of the figures that take long")
    parser.add_argument("--folder", type=Path, help="of the data; up to 60 GB")
    parser.add_argument("--only", help=f"some of {','.join(_FIGURES)}")
    arguments = parser.parse_args()
    if unknown := {*(arguments.only or "").split(",")} - {"", *_FIGURES}:
        parser.error(f"no figure {', '.join(unknown)}; valid: {', '.join(_FIGURES)}")
    return arguments


def _line(figure: Figure) -> str:
    ours, base = figure.ours, figure.base
    ratio = "{:.2f}" if base else "{:,.0f}"
    goal = ""
    for sign, limit in (("<=", figure.at_most), (">=", figure.at_least)):
        if limit is not None:
            goal = f"{sign} {limit:,}" + ("" if figure.met else "  missed")
    return _ROW.format(
        figure.title,
        ratio.format(figure.value),
        f"{ours.cpu / base.cpu:.2f}" if base else "",
        f"{ours.wall:.2f}",
        f"{base.wall:.2f}" if base else "",
        f"{ours.memory:,.0f}",
        f"{base.memory:,.0f}" if base else "",
        goal,
    )


if __name__ == "__main__":
    sys.exit(main())
