"""The figures of the command itself and on DuckDB; README.md says what they are for."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import data
from data import Shape
from home import BIN, Home
from timing import Cost, interleaved
from year import fill

_HERE = Path(__file__).parent
MEMORY = 1024  # MB
FULL = 10_000_000
"""Rows of the window for which the goals are meant."""


@dataclass(frozen=True)
class Size:
    """The folder of the data, the rows of the window, and the rounds of an expensive figure."""

    folder: Path
    rows: int
    rounds: int

    def part(self, of: int, *, least: int) -> int:
        """Return `of` in proportion to the rows, if these are fewer than `FULL`."""
        return max(min(of, of * self.rows // FULL), least)


@dataclass(frozen=True)
class Figure:
    """The ratio of two costs; without `base`, the cost itself.

    `of` is the part of the cost that is compared: elapsed time (`wall`), or memory in MB. The goal,
    if there is one, is `at_most` or `at_least`.
    """

    title: str
    ours: Cost
    base: Cost | None
    at_most: float | None = None
    at_least: float | None = None
    of: str = "wall"

    @property
    def value(self) -> float:
        """The ratio, or the cost if there is no base."""
        ours = float(getattr(self.ours, self.of))
        return ours / float(getattr(self.base, self.of)) if self.base else ours

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)


def window(size: Size) -> Iterator[Figure]:
    """Measure one brand against DuckDB's COPY, and 200 brands against one."""
    one = Home.make(size.folder / "one", Shape(size.rows))
    many = Home.make(size.folder / "many", Shape(size.rows, brands=200))
    frozen = size.folder / "frozen"
    frozen.mkdir()
    one.run(sys.executable, _HERE / "freezing.py", frozen)

    def copy() -> Cost:
        return one.run(sys.executable, _HERE / "copying.py", frozen / "frozen.duckdb", frozen)

    def of_one() -> dict[str, Cost]:
        run, dbt = one.inside()
        one.check(size.rows)
        return {"one": run, "outside dbt": run - dbt}

    def of_many() -> dict[str, Cost]:
        run, dbt = many.inside()
        many.check(size.rows)
        return {"many": run, "many outside dbt": run - dbt}

    costs = interleaved(
        of_one,
        of_many,
        lambda: {"copy": copy()},
        rounds=size.rounds,
        warm=False,
    )
    title = "one brand, outside dbt / DuckDB's ordered COPY"
    yield Figure(title, costs["outside dbt"], costs["copy"], at_most=1.3)
    yield Figure("200 brands / one brand", costs["many"], costs["one"], at_most=1.3)
    yield Figure(
        "200 brands / one brand, outside dbt", costs["many outside dbt"], costs["outside dbt"]
    )


def small(size: Size) -> Iterator[Figure]:
    """Measure a thousand small brands against one, and a day against `dbt build` of that day."""
    rows, brands = size.part(125_000, least=12_500), size.part(1_000, least=100)
    one = Home.make(size.folder / "one", Shape(rows))
    many = Home.make(size.folder / "many", Shape(rows, brands=brands))
    costs = interleaved(
        lambda: {"one": one.daily()},
        lambda: {"many": many.daily()},
        lambda: {"dbt": one.dbt("build", "--exclude-resource-type", "unit_test")},
        rounds=size.rounds,
    )
    many.check(rows)
    title = f"{brands:,} brands of {rows // brands} rows / one of {rows:,}"
    yield Figure(title, costs["many"], costs["one"], at_most=1.5)
    yield Figure(f"a day of {rows:,} rows / `dbt build`", costs["one"], costs["dbt"], at_most=1.3)


def history(size: Size) -> Iterator[Figure]:
    """Measure a day's export, after one day of history and after a hundred."""
    rows = max(size.rows // 100, 100)
    young = Home.make(size.folder / "young", Shape(rows, brands=20))
    old = Home.make(size.folder / "old", Shape(rows, brands=20, before=99))
    # The first run of a ledger looks once for late rows in all of the history.
    young.daily()
    old.daily()
    costs = interleaved(
        lambda: {"young": young.again()},
        lambda: {"old": old.again()},
        rounds=size.rounds,
    )
    old.check(rows)
    yield Figure("a day's export, history x100", costs["old"], costs["young"], at_most=1.2)


def late(size: Size) -> Iterator[Figure]:
    """Measure the search for late rows in a history of 35 days, against one day's export."""
    rows = max(size.rows // 10, 100)
    day = Home.make(size.folder / "day", Shape(rows, brands=20))
    old = Home.make(size.folder / "old", Shape(rows, brands=20, before=35))
    old.daily()

    def look() -> dict[str, Cost]:
        old.run(sys.executable, _HERE / "looking.py", old.steps)
        return {"look": old.step_cost()}

    costs = interleaved(look, lambda: {"day": day.daily()}, rounds=size.rounds)
    title = "a look for late rows, 35 days behind it / one day's export"
    yield Figure(title, costs["look"], costs["day"], at_most=0.1)


def week(size: Size) -> Iterator[Figure]:
    """Measure a run that catches up a week of hourly windows, per window, against a daily run."""
    home = Home.make(size.folder, Shape(max(size.rows // 1000, 70), brands=3, days=7))
    exports = (home.folder / "exports.yml").read_text(encoding="utf-8")
    hours = exports.replace("brand: '*'", "brand: '*', interval: hourly")

    def of_week() -> dict[str, Cost]:
        (home.folder / "exports.yml").write_text(hours, encoding="utf-8")
        cost = home.first_run(
            BIN / "orchestrate", "backfill", "--from", data.DAY, "--to", "2026-11-07"
        )
        return {"week": cost / (7 * 24)}

    def of_one() -> dict[str, Cost]:
        (home.folder / "exports.yml").write_text(exports, encoding="utf-8")
        return {"one": home.daily()}

    of_one()  # which leaves dbt's parse for the rounds
    costs = interleaved(of_one, of_week, rounds=1, warm=False)
    title = "a week of hourly windows in one run, per window / a run of one"
    yield Figure(title, costs["week"], costs["one"], at_most=0.05)


def memory(size: Size) -> Iterator[Figure]:
    """Measure the peak memory of a window, and of one five times as large."""
    found: list[Cost] = []
    for rows in (size.rows, 5 * size.rows):
        home = Home.make(size.folder / str(rows), Shape(rows, brands=20))
        found.append(home.daily())
        home.check(rows)
        title = f"peak memory of {rows:,} rows, MB"
        yield Figure(title, found[-1], None, at_most=MEMORY, of="memory")
    yield Figure("5 times the rows, memory", found[1], found[0], at_most=1.15, of="memory")


def idle(size: Size) -> Iterator[Figure]:
    """Measure a run with nothing due against a Python that imports DuckDB."""
    home = Home.make(size.folder / "idle", Shape(1_000, brands=3))
    home.daily()
    costs = interleaved(
        lambda: {"run": home.run(BIN / "orchestrate", "daily", "--date", data.DAY)},
        lambda: {"import": home.run(sys.executable, "-c", "import duckdb")},
        rounds=max(size.rounds, 15),
    )
    yield Figure("nothing due / import duckdb", costs["run"], costs["import"], at_most=2.5)


def year(size: Size) -> Iterator[Figure]:
    """Measure the same run, and `status`, with a year of a thousand brands in the ledger."""
    brands = size.part(1_000, least=20)
    home = Home.make(size.folder / "year", Shape(1_000, brands=3))
    fill(home.folder, brands=brands, days=365)
    costs = interleaved(
        lambda: {"run": home.run(BIN / "orchestrate", "run")},
        lambda: {"status": home.run(BIN / "orchestrate", "status")},
        lambda: {"import": home.run(sys.executable, "-c", "import duckdb")},
        rounds=max(size.rounds, 5),
    )
    title = f"a year of {brands:,} brands"
    yield Figure(f"{title}: nothing due / import duckdb", costs["run"], costs["import"], at_most=3)
    yield Figure(f"{title}: status / import duckdb", costs["status"], costs["import"], at_most=6)
