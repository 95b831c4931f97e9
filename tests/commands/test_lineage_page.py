"""The pages of `orchestrate docs`, opened from disk and used in a browser."""

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
    """Return the columns of a lane that are displayed."""
    title = f'//section[h3="{lane}"]//button[@data-name]'
    buttons = page.driver.find_elements(By.XPATH, title)
    return sorted(str(b.get_attribute("data-name")) for b in buttons if b.is_displayed())


def choose(page: Browser, name: str) -> None:
    """Choose a column, after opening its table where that is collapsed."""
    if not column(page, name).is_displayed():
        toggle = f"//button[@class='open'][.='{name.partition('.')[0]}']"
        page.driver.find_element(By.XPATH, toggle).click()
    column(page, name).click()
    page.wait("document.querySelector('#about h2') !== null")
    assert page.driver.find_element(By.CSS_SELECTOR, "#about h2").text.split()[0] == name


def test_a_click_shows_the_raw_columns_of_a_field(page: Browser) -> None:
    choose(page, "activities_daily.email_address")
    assert shown(page, "Raw tables") == RAW
    origins = page.driver.find_element(By.ID, "origins")
    assert origins.is_displayed()
    assert origins.text == f"Built from {', '.join(RAW)}."
    assert column(page, "activities_daily.email_address").get_attribute("aria-current") == "true"
    assert shown(page, "Delivered files") == ["Activity file.E-mail address"]


def test_a_click_on_a_raw_column_shows_the_columns_built_from_it(page: Browser) -> None:
    choose(page, "activities_daily.email_address")
    choose(page, "customers.email_address")
    assert shown(page, "Raw tables") == ["customers.email_address"]
    assert shown(page, "Exports") == ["activities_daily.email_address"]
    assert page.driver.find_element(By.ID, "origins").text == "A raw column."


def test_every_drawn_edge_connects_displayed_columns(page: Browser) -> None:
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


def test_search_selects_a_column_and_all_shows_everything_again(page: Browser) -> None:
    everything = shown(page, "Delivered files")
    find = page.driver.find_element(By.ID, "find")
    find.send_keys("activities_daily.email_address\t")
    page.wait("document.querySelector('#origins') !== null")
    assert shown(page, "Raw tables") == RAW
    page.driver.find_element(By.ID, "all").click()
    page.wait("document.querySelector('#origins') === null")
    assert shown(page, "Delivered files") == everything


def test_the_page_starts_with_the_files_and_collapsed_tables(page: Browser) -> None:
    titles = [each.text for each in page.driver.find_elements(By.CSS_SELECTOR, ".lane > h3")]
    assert titles[0].lower() == "delivered files"
    assert titles[-1].lower() == "raw tables"
    fields = shown(page, "Delivered files")
    assert "Activity file.E-mail address" in fields
    assert shown(page, "Raw tables") == []
    address = column(page, "Activity file.E-mail address")
    assert address.text.split("\n") == ["E-mail address", "text"]  # with its type
    assert address.get_attribute("title")  # and its description
    italic = page.driver.find_elements(By.CSS_SELECTOR, ".column.additional")
    names = {str(each.get_attribute("data-name")) for each in italic if each.is_displayed()}
    assert "Activity file.Operating system" in names
    assert "Activity file.E-mail address" not in names


def test_search_finds_a_column_by_part_of_its_name(page: Browser) -> None:
    find = page.driver.find_element(By.ID, "find")
    find.send_keys("MAIL_ADDR")
    found = [each.text for each in page.driver.find_elements(By.CSS_SELECTOR, "#found button")]
    assert found[0] == "activities_daily.email_address"
    assert {*RAW} < {*found}
    page.driver.find_element(By.CSS_SELECTOR, "#found button").click()
    page.wait("document.querySelector('#origins') !== null")
    assert page.driver.find_elements(By.CSS_SELECTOR, "#found button") == []


def test_no_line_runs_behind_a_box(page: Browser) -> None:
    behind = page.run("""
        const lanes = document.querySelector("#lanes").getBoundingClientRect();
        const boxes = [...document.querySelectorAll(".table")].filter(b => b.offsetParent)
            .map(b => b.getBoundingClientRect());
        const inside = p => boxes.some(b => p.x + lanes.left > b.left + 2
            && p.x + lanes.left < b.right - 2
            && p.y + lanes.top > b.top + 2 && p.y + lanes.top < b.bottom - 2);
        const paths = [...document.querySelectorAll("#lanes path")];
        return [paths.length, paths.filter(path => d3.range(0, path.getTotalLength(), 5)
            .some(at => inside(path.getPointAtLength(at)))).length]""")
    assert behind[0] > 20
    assert behind[1] == 0


def test_a_narrow_window_shows_a_list(page: Browser, index: Path) -> None:
    page.open(index, width=400)
    lefts = page.run("""
        return [...document.querySelectorAll(".table")].filter(t => t.offsetParent)
            .map(t => t.getBoundingClientRect().left)""")
    assert len({*lefts}) == 1
    assert not page.driver.find_element(By.CSS_SELECTOR, "#lanes svg").is_displayed()


def test_links_open_the_pages_of_dbt(browser: Browser, index: Path) -> None:
    browser.open(index)
    choose(browser, "activities_daily.email_address")
    link = "a[href='dbt.html#!/model/model.event_based_export.activities_daily']"
    browser.driver.find_element(By.CSS_SELECTOR, link).click()
    browser.wait("document.querySelector('h1')?.innerText.startsWith('activities_daily')")
    page = "/dbt.html#!/model/model.event_based_export.activities_daily"
    assert browser.driver.current_url.endswith(page)
    browser.driver.back()
    browser.wait("document.querySelector('#origins') !== null")
    browser.driver.find_element(By.LINK_TEXT, "dbt's own pages").click()
    browser.wait("document.body.innerText.includes('Exposures')")
    requests = browser.requests()
    assert index.with_name("dbt.html").as_uri() in [url.split("#")[0] for url in requests]
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def test_the_pages_of_dbt_begin_with_ours_and_show_types(browser: Browser, index: Path) -> None:
    browser.open(index.with_name("dbt.html"))
    browser.wait("document.body.innerText.includes('Where to begin')")
    links = browser.driver.find_elements(By.CSS_SELECTOR, ".model-markdown a, .markdown a, p a")
    assert {"activities_daily", "brands"} <= {link.text for link in links}
    browser.driver.find_element(By.LINK_TEXT, "int_activities").click()
    browser.wait("document.querySelector('h1')?.innerText.startsWith('int_activities')")
    browser.wait(r"/received_at\s+TIMESTAMP WITH TIME ZONE/.test(document.body.innerText)")
    assert [url for url in browser.requests() if not url.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_fits_narrow_and_wide_windows_in_light_and_dark(
    page: Browser, index: Path, width: int, *, dark: bool
) -> None:
    page.open(index, width=width, dark=dark)
    choose(page, "activities_daily.email_address")
    assert page.run("return innerWidth") == width
    assert not page.overflows()
    paper = page.run("return getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 24, 29)" if dark else "rgb(255, 255, 255)")
