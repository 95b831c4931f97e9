"""Every process uses UTF-8, whatever the locale and the variables of Python are."""

import subprocess
from pathlib import Path

import pytest
from forked_commands import orchestrate_cold
from workspace import Workspace

BRANDS = ("CAFÉ", "日本")


@pytest.fixture(scope="module")
def latin9(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a locale whose encoding has é but not 日; cron may run in such a locale."""
    folder = tmp_path_factory.mktemp("locales")
    locale = folder / "nl_NL.ISO-8859-15"
    command = ["localedef", "-i", "nl_NL", "-f", "ISO-8859-15", str(locale)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"LC_ALL": "nl_NL.ISO-8859-15"}, marks=pytest.mark.faults),
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        pytest.param({"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"}, marks=pytest.mark.faults),
    ],
    ids=lambda environment: environment["LC_ALL"],
)
def test_names_are_utf8_in_any_locale(
    workspace: Workspace, latin9: Path, environment: dict[str, str]
) -> None:
    for brand in BRANDS:
        workspace.mailing(brand, "2026-11-19")
    workspace.configure("  - {brand: '*'}")
    words = ("daily", "--date", "2026-11-19", "--brand", BRANDS[0], "--brand", BRANDS[1])
    ran = orchestrate_cold(workspace.folder, *words, LOCPATH=str(latin9), **environment)
    assert ran.returncode == 0, ran.stderr
    assert sorted(path.name for path in (workspace.folder / "there").iterdir()) == sorted(
        f"{kind}_{brand}_20261119.csv" for kind in ("activity", "broadcast") for brand in BRANDS
    )
    assert all(f"delivered {brand} daily 2026-11-19" in ran.stderr for brand in BRANDS)
    shown = orchestrate_cold(workspace.folder, "status", LOCPATH=str(latin9), **environment)
    assert "日本" in shown.stdout
