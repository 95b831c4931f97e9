"""A new revision of a window replaces the earlier files, under the same names."""

import gzip

import pytest
from workspace import Workspace, days

from orchestrator.pipeline import Status

NOW = "2026-11-20 07:00"
DAY = days("2026-11-19")
NAMES = ["activity_ACME_20261119.csv", "broadcast_ACME_20261119.csv"]


@pytest.fixture
def acme(workspace: Workspace) -> Workspace:
    """One brand whose window of 19 November was delivered, with completion files."""
    workspace.mailing("ACME", "2026-11-19")
    workspace.configure("  - {brand: ACME, completion: both}")
    workspace.run(NOW)
    workspace.opened("ACME", "2026-11-19 12:00:00", "ACME-1", event_id="late")
    return workspace


def test_a_revision_keeps_the_names_of_the_first(acme: Workspace) -> None:
    names = acme.files()
    acme.configure(
        "  - {brand: ACME, completion: both, directory: new, extension: txt,"
        " activity_file: 'other_{brand}_{window_start:%Y%m%d}'}"
    )
    (window,) = acme.run(NOW, days=DAY, force=True).windows
    assert (window.status, window.revision) == (Status.DELIVERED, 2)
    assert acme.files() == names
    assert acme.text(NAMES[0]).count("\n") == 3
    assert f"  {NAMES[0]}\n" in acme.text(f"{NAMES[0]}.ready")
    assert f'"path": "{NAMES[0]}"' in acme.text(f"{NAMES[0]}.manifest.json")
    # The next window has the names that are in exports.yml now.
    acme.mailing("ACME", "2026-11-20", number=2)
    acme.run("2026-11-21 07:00")
    assert {name for name in acme.files() if not name.startswith("new/")} == {*names}
    assert "new/other_ACME_20261120.txt" in acme.files()


def test_a_revision_that_cannot_keep_the_names_removes_the_earlier_files(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME, compression: gzip}")
    acme.run(NOW, days=DAY, force=True)
    assert acme.files() == [f"{name}.gz" for name in NAMES]
    content = gzip.decompress(acme.all_bytes()[f"{NAMES[0]}.gz"])
    assert content.count(b"\n") == 3


def test_a_revision_without_rows_replaces_the_earlier_files(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME, empty: skip}")
    acme.query("delete from raw.email_opens; delete from raw.broadcasts")
    acme.run(NOW, days=DAY, force=True)
    assert acme.files() == NAMES
    assert acme.text(NAMES[0]).count("\n") == 1
