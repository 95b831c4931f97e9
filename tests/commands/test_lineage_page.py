"""The pages of `orchestrate docs`, opened from disk and clicked in a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser
from forked_commands import orchestrate
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from workspace import Workspace

EVENTS = ("bounces", "clicks", "complaints", "opens", "sends", "unsubscribes")
RAW = ["customers.email_address", *(f"email_{event}.email_address" for event in EVENTS)]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        workspace = Workspace(tmp_path_factory.mktemp("docs"), monkeypatch)
        orchestrate(workspace.folder, "docs", "--output", "pages with a space").check_returncode()
        yield workspace.folder / "pages with a space" / "index.html"


@pytest.fixture
def page(browser: Browser, index: Path) -> Iterator[Browser]:
    browser.open(index)
    yield browser
    assert browser.problems() == []
    assert browser.requests() == [index.as_uri()]


def column(page: Browser, name: str) -> WebElement:
    return page.driver.find_element(By.CSS_SELECTOR, f'.column[data-name="{name}"]')


def shown(page: Browser, lane: str) -> list[str]:
    """Return the columns of a lane that a person sees."""
    title = f'//section[h3="{lane}"]//button'
    buttons = page.driver.find_elements(By.XPATH, title)
    return sorted(str(b.get_attribute("data-name")) for b in buttons if b.is_displayed())


def choose(page: Browser, name: str) -> None:
    column(page, name).click()
    page.wait("document.querySelector('#about h2') !== null")
    assert page.driver.find_element(By.CSS_SELECTOR, "#about h2").text == name


def test_a_click_shows_the_raw_columns_of_a_field(page: Browser) -> None:
    assert len(shown(page, "Raw tables")) > 50
    choose(page, "activities_daily.email_address")
    assert shown(page, "Raw tables") == RAW
    origins = page.driver.find_element(By.ID, "origins")
    assert origins.is_displayed()
    assert origins.text == f"Made from {', '.join(RAW)}."
    assert column(page, "activities_daily.email_address").get_attribute("aria-current") == "true"
    assert shown(page, "Delivered files") == ["Activity file.E-mail address"]


def test_a_click_on_a_raw_column_shows_where_it_goes(page: Browser) -> None:
    choose(page, "activities_daily.email_address")
    choose(page, "customers.email_address")
    assert shown(page, "Raw tables") == ["customers.email_address"]
    assert shown(page, "Exports") == ["activities_daily.email_address"]
    assert page.driver.find_element(By.ID, "origins").text == "A raw column: it begins here."


def test_every_edge_that_is_drawn_begins_and_ends_at_a_column_shown(page: Browser) -> None:
    choose(page, "activities_daily.email_address")
    ends = page.run("""
        const lanes = document.querySelector("#lanes").getBoundingClientRect();
        return [...document.querySelectorAll("#lanes path")].map(path => {
            const length = path.getTotalLength();
            return [path.getPointAtLength(0), path.getPointAtLength(length)]
                .map(point => [point.x + lanes.left, point.y + lanes.top]);
        })""")
    boxes = page.run("""
        return [...document.querySelectorAll(".column")].filter(c => c.offsetParent).map(c => {
            const table = c.closest(".table").getBoundingClientRect();
            const row = c.getBoundingClientRect();
            return [table.left, table.right, row.top, row.bottom];
        })""")
    assert len(ends) >= len(RAW)
    for x, y in (point for edge in ends for point in edge):
        assert any(
            top < y < bottom and min(abs(x - left), abs(x - right)) < 1
            for left, right, top, bottom in boxes
        ), (x, y)


def test_a_column_is_found_by_its_name_and_everything_comes_back(page: Browser) -> None:
    everything = shown(page, "Raw tables")
    find = page.driver.find_element(By.ID, "find")
    find.send_keys("activities_daily.email_address\t")
    page.wait("document.querySelector('#origins') !== null")
    assert shown(page, "Raw tables") == RAW
    page.driver.find_element(By.ID, "all").click()
    page.wait("document.querySelector('#origins') === null")
    assert shown(page, "Raw tables") == everything


def test_dbt_s_own_pages_open_too(browser: Browser, index: Path) -> None:
    browser.open(index)
    choose(browser, "activities_daily.email_address")
    browser.driver.find_element(By.LINK_TEXT, "activities_daily").click()
    browser.wait("document.querySelector('h1')?.innerText.startsWith('activities_daily')")
    page = "/dbt.html#!/model/model.event_based_export.activities_daily"
    assert browser.driver.current_url.endswith(page)
    browser.driver.back()
    browser.wait("document.querySelector('#origins') !== null")
    browser.driver.find_element(By.LINK_TEXT, "dbt's own pages").click()
    browser.wait("document.body.innerText.includes('Exposures')")
    asked = browser.requests()
    assert index.with_name("dbt.html").as_uri() in [url.split("#")[0] for url in asked]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_fits_a_view(page: Browser, index: Path, width: int, *, dark: bool) -> None:
    page.open(index, width=width, dark=dark)
    choose(page, "activities_daily.email_address")
    assert page.run("return innerWidth") == width
    assert not page.spills()
    paper = page.run("return getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 24, 29)" if dark else "rgb(255, 255, 255)")
