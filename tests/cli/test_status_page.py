"""The page of `status`, opened from disk in a browser."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from browser import Browser
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from workspace import Workspace

from orchestrator import config
from orchestrator.cli import status_page
from orchestrator.commands.status import read_status
from orchestrator.commands.status_history import read_history
from orchestrator.config.exports import EVERY_BRAND, File
from orchestrator.jobs import Exports, Request
from orchestrator.ledger import Delivery, Entry, Failure, Ledger

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAYS = 21
EVIL = "</script><img src=x onerror=document.title='taken'><!--"
REASON = "destination 'there': <b onclick=x>&amp;"
LOCAL = ("file:", "data:", "blob:")


def write_page(workspace: Workspace, now: datetime = NOW) -> Path:
    """Write the status page of this workspace; return its path."""
    loaded, page = config.read(workspace.folder / "exports.yml"), workspace.folder / "status.html"
    with closing(Ledger(loaded.state, read_only=True)) as ledger:
        found = read_status(loaded, Request(), ledger, now=now)
        history = read_history(loaded, Request(), ledger, now=now)
    status_page.write_page(found, history, page, config=loaded.source.path)
    return page


@pytest.fixture
def weeks(workspace: Workspace) -> Workspace:
    """Three weeks of ALFA and BETA, a brand with an evil name, and a day of BETA that failed."""
    workspace.configure(
        '  - {brand: ALFA, timezone: Asia/Tokyo}\n  - {brand: BETA}\n  - {brand: "*"}'
    )
    loaded = config.read(workspace.folder / "exports.yml")
    with closing(Ledger(loaded.state)) as ledger:
        failures = ledger.failures
        for line in Exports(loaded, Request()):
            calendar, brand = line.export.calendar, line.export.brand
            window = calendar.last_due(NOW)
            for age in range(DAYS):
                entry = Entry(line.name, window, 1)
                if age and brand == EVERY_BRAND:
                    ledger.finish([entry])
                elif age or brand == "ALFA":
                    at = calendar.due(window) + timedelta(minutes=5 + age)
                    file = Delivery(File("activity", f"{brand}{age}", 9, "a" * 64), "there", at)
                    rows = {"open": 2, "complaint": 1}
                    written = replace(entry, activity_rows=3, broadcast_rows=1, choice="all")
                    written = replace(written, activities=rows)
                    ledger.write([(written, [file])])
                    ledger.finish([written])
                else:
                    ledger.plan([entry])
                    if brand == "BETA":
                        at = calendar.due(window)
                        failure = Failure(line.name, window, 1, "failed", REASON, at)
                        failures.note([failure])
                window = calendar.containing(window.start - timedelta(hours=1))
        window = calendar.last_due(NOW)
        failures.note([Failure(f"{EVIL} daily", window, 1, "failed", f"{EVIL!r}: bad", NOW, NOW)])
    return workspace


@pytest.fixture
def page(browser: Browser, weeks: Workspace) -> Iterator[Browser]:
    browser.open(write_page(weeks))
    yield browser
    assert browser.problems() == []
    requests = browser.requests()
    assert requests
    assert [url for url in requests if not url.startswith(LOCAL)] == []


def marks(page: Browser, figure: str, shape: str) -> int:
    """Return how many marks a plot has."""
    found = f"{figure} svg g[aria-label='{shape}'] > *"
    return int(page.run("return document.querySelectorAll(arguments[0]).length", found))


def captions(page: Browser) -> list[str]:
    return [e.text for e in page.driver.find_elements(By.CSS_SELECTOR, "#rows figcaption")]


def first_cells(page: Browser, table: str) -> list[str]:
    """Return the first cell of each row that is displayed."""
    cells = page.driver.find_elements(By.CSS_SELECTOR, f"{table} tbody td:first-child")
    return [cell.text for cell in cells if cell.is_displayed()]


def test_the_plots_show_every_day(page: Browser) -> None:
    rows = 2 * (2 * DAYS - 1)
    assert captions(page) == [f"Open {rows} rows", f"Complaint {rows // 2} rows"]
    days = marks(page, "#rows figure:first-of-type", "rect")
    assert days == DAYS
    assert marks(page, "#rows", "rect") == 2 * days
    assert marks(page, "#lag", "dot") == 2 * DAYS  # the slowest and the median
    assert marks(page, "#failures", "rect") == 1


def test_exports_with_problems_come_first_and_their_texts_are_escaped(page: Browser) -> None:
    assert first_cells(page, "#problems") == [f"{EVIL} daily", "BETA daily"]
    assert first_cells(page, "#exports") == [EVIL, "BETA", "ALFA"]
    problem = page.driver.find_element(By.CSS_SELECTOR, "#problems tr:last-child .what").text
    assert problem.startswith("window 2026-11-19 failed in 1 run since 2026-11-20 06:00 UTC: ")
    assert problem.endswith(REASON)
    assert page.run("return document.images.length") == 0
    assert page.driver.title == "Exports: 3 exports, 2 with problems"


def test_choosing_a_brand_filters_the_page(page: Browser) -> None:
    brand = Select(page.driver.find_element(By.ID, "brand"))
    assert [option.text for option in brand.options] == ["all", "*", EVIL, "ALFA", "BETA"]
    brand.select_by_visible_text("ALFA")
    assert captions(page) == [f"Open {2 * DAYS} rows", f"Complaint {DAYS} rows"]
    assert first_cells(page, "#problems") == []
    assert page.driver.find_element(By.ID, "no-problems").is_displayed()
    assert first_cells(page, "#exports") == ["ALFA"]
    assert marks(page, "#failures", "rect") == 0
    brand.select_by_visible_text(EVIL)
    assert captions(page) == []
    assert first_cells(page, "#problems") == [f"{EVIL} daily"]
    brand.select_by_visible_text("all")
    assert len(first_cells(page, "#exports")) == 3
    assert marks(page, "#lag", "dot") == 2 * DAYS


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_fits_narrow_and_wide_windows_in_light_and_dark(
    browser: Browser, weeks: Workspace, width: int, *, dark: bool
) -> None:
    browser.open(write_page(weeks), width=width, dark=dark)
    assert browser.run("return innerWidth") == width
    assert not browser.overflows()
    assert marks(browser, "#lag", "dot") == 2 * DAYS
    paper = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 24, 29)" if dark else "rgb(255, 255, 255)")
    assert browser.problems() == []


def test_no_mark_is_outside_its_plot(browser: Browser, workspace: Workspace) -> None:
    """In a time zone with a later date, and after a clock was far ahead."""
    workspace.configure(
        "  - {brand: ALFA, timezone: Pacific/Auckland, interval: hourly}\n  - {brand: BETA}"
    )
    loaded, now = config.read(workspace.folder / "exports.yml"), NOW.replace(hour=20)
    with closing(Ledger(loaded.state)) as ledger:
        for line, ahead in zip(Exports(loaded, Request()), (0, 60), strict=True):
            window = line.export.calendar.last_due(now + timedelta(days=ahead))
            at = line.export.calendar.due(window)
            written = replace(Entry(line.name, window, 1), choice="all", activities={"open": 1})
            ledger.write([(written, [Delivery(File("activity", "a", 9, "a" * 64), "there", at)])])
            ledger.finish([written])
    browser.open(write_page(workspace, now))
    assert captions(browser) == ["Open 1 row"]
    assert marks(browser, "#rows", "rect") == 1
    outside = """
        const right = element => element.getBoundingClientRect().right;
        return [...document.querySelectorAll("svg [aria-label=rect] > *, svg circle")]
            .filter(mark => right(mark) > right(mark.closest("svg"))).length
    """
    assert browser.run(outside) == 0


def test_a_page_without_deliveries_says_so(browser: Browser, workspace: Workspace) -> None:
    workspace.configure("  - {brand: ACME}")
    browser.open(write_page(workspace), width=400)
    text = browser.driver.find_element(By.TAG_NAME, "body").text
    for expected in (
        "1 export, 1 with problems, nothing delivered yet",
        "Nothing exported yet.",
        "overdue",
    ):
        assert expected in text
    assert marks(browser, "#lag", "dot") == 0
    assert not browser.overflows()
    assert browser.problems() == []


def test_the_badge_is_large_and_the_header_names_config_and_time(page: Browser) -> None:
    badge = page.driver.find_element(By.ID, "badge")
    assert badge.text == "2 problems"
    assert "bad" in str(badge.get_attribute("class")).split()
    assert float(page.run("return parseFloat(getComputedStyle(arguments[0]).fontSize)", badge)) > 30
    head = page.driver.find_element(By.TAG_NAME, "header").text
    assert "exports.yml" in head
    assert "2026-11-20 12:00 UTC" in head


def test_an_old_page_marks_itself_as_stale(browser: Browser, weeks: Workspace) -> None:
    browser.open(write_page(weeks))  # of a past day
    assert browser.driver.find_element(By.ID, "stale").is_displayed()
    browser.open(write_page(weeks, datetime.now(UTC)))
    assert not browser.driver.find_element(By.ID, "stale").is_displayed()
    assert "just now" in browser.driver.find_element(By.ID, "age").text


def cells(page: Browser, brand: str) -> list[str]:
    """Return the classes of the cells of a brand's recent windows, oldest first."""
    found = page.driver.find_elements(By.CSS_SELECTOR, f"tr[data-brand='{brand}'] .cells i")
    return [str(cell.get_attribute("class")) for cell in found]


def test_recent_windows_are_shown_as_cells(page: Browser) -> None:
    assert cells(page, "ALFA") == ["delivered"] * DAYS
    assert cells(page, "BETA") == ["delivered"] * (DAYS - 1) + ["failed"]


def test_a_day_without_rows_is_a_dot(page: Browser) -> None:
    Select(page.driver.find_element(By.ID, "brand")).select_by_visible_text("BETA")
    assert marks(page, "#rows figure:first-of-type", "rect") == DAYS - 1
    assert marks(page, "#rows figure:first-of-type", "dot") == 1


def test_a_click_on_a_heading_sorts_the_table(page: Browser) -> None:
    head = page.driver.find_element(By.XPATH, "//table[@id='exports']//button[.='Brand']")
    head.click()
    assert first_cells(page, "#exports") == [EVIL, "ALFA", "BETA"]
    head.click()
    assert first_cells(page, "#exports") == ["BETA", "ALFA", EVIL]
    page.driver.find_element(By.XPATH, "//table[@id='exports']//button[.='Lag']").click()
    assert first_cells(page, "#exports")[0] == "ALFA"  # its lag of 5 min is the smallest


def test_a_backfill_does_not_count_as_lag(workspace: Workspace) -> None:
    workspace.configure("  - {brand: ALFA}")
    loaded = config.read(workspace.folder / "exports.yml")
    with closing(Ledger(loaded.state)) as ledger:
        (line,) = Exports(loaded, Request())
        window = line.export.calendar.last_due(NOW - timedelta(days=20))
        for scheduled in (True, False):
            written = Entry(line.name, window, 1, scheduled=scheduled, choice="all")
            at = NOW if not scheduled else line.export.calendar.due(window)
            file = File("activity", f"{scheduled}", 9, "a" * 64)
            ledger.write([(written, [Delivery(file, "there", at)])])
            ledger.finish([written])
            window = line.export.calendar.containing(window.start - timedelta(hours=1))
    with closing(Ledger(loaded.state, read_only=True)) as ledger:
        history = read_history(loaded, Request(), ledger, now=NOW)
    assert [day.lags for day in history.days["ALFA daily"].values()] == [[0.0]]


def test_an_injected_script_does_not_run(browser: Browser, weeks: Workspace) -> None:
    page = write_page(weeks)
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</main>", "</main><script>document.title = 'taken'</script>"))
    browser.open(page)
    assert browser.driver.title != "taken"
    assert "Content Security Policy" in browser.problems()[0]
    assert marks(browser, "#lag", "dot") == 2 * DAYS
