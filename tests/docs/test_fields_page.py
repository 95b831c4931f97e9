"""Every snippet of exports.yml in docs/fields.md gives exactly the files shown below it."""

import re
import subprocess
from collections.abc import Iterator

import pytest
from forked_commands import orchestrate
from workspace import ROOT, Workspace, days

PAGE = (ROOT / "docs/fields.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
SNIPPETS = {title: text for title, text in SECTIONS.items() if "```yaml" in text}


def shown_files(text: str, language: str) -> dict[str, str]:
    """Return the files that a text shows, by name."""
    block = rf"^`([^`\n]+)`:\n\n```{language}\n(.*?)^```$"
    return dict(re.findall(block, text, re.DOTALL | re.MULTILINE))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A warehouse with the data of the page."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        workspace = Workspace(tmp_path_factory.mktemp("fields"), monkeypatch)
        raw = workspace.folder / "raw"
        raw.mkdir()
        for name, text in shown_files(SECTIONS["The data"], "json").items():
            (raw / name).write_text(text, encoding="utf-8")
        orchestrate(workspace.folder, "load", str(raw)).check_returncode()
        monkeypatch.setenv("HASH_SALT", "pepper")
        yield workspace


@pytest.mark.parametrize("title", SNIPPETS)
def test_a_snippet_gives_the_files_below_it(loaded: Workspace, title: str) -> None:
    text = SNIPPETS[title]
    (snippet,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    destination = re.sub(r"\W", "_", title)
    own = f"destinations: {{there: {{directory: {destination}}}}}\n"
    own += f"state: sqlite:///{destination}.db\noutbox: {destination}.outbox\n"
    (loaded.folder / destination).mkdir()
    (loaded.folder / "exports.yml").write_text(own + snippet, encoding="utf-8")
    assert loaded.run("2026-11-19 07:00", days=days("2026-11-18")).exit_code == 0
    files = shown_files(text, "text")
    assert files
    for name, expected in files.items():
        assert loaded.text(name, destination) == expected, name
    brands = {name.split("_")[1] for name in files}
    assert {name.split("_")[1] for name in loaded.files(destination)} == brands


def test_a_command_prints_the_output_below_it() -> None:
    found = re.findall(r"^```console\n\$ (.*?)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found
    for command, expected in found:
        printed = subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout
        assert printed.decode() == expected
