"""Every test that a page names exists."""

import re
from pathlib import Path

import pytest
from workspace import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"\btests/[\w/]+(?:\.py)?", text):
        assert (ROOT / name).exists(), name


def test_every_promise_names_a_test_or_a_command() -> None:
    text = (ROOT / "docs/promises.md").read_text(encoding="utf-8")
    promises = [line for line in text.splitlines() if re.match(r"\| [A-Z`]", line)]
    assert len(promises) > 25
    for line in promises:
        assert re.search(r"\btests/|`make ", line.split(" | ")[-1]), line
