"""`orchestrate preview` prints the first bytes of each file and leaves nothing behind."""

import base64
import csv
import fcntl
import gzip
import json
import subprocess

import pytest
from forked_commands import ORCHESTRATE, orchestrate
from workspace import Workspace, days, snapshot, utc

from orchestrator import config
from orchestrator.commands import preview
from orchestrator.commands.preview import Head
from orchestrator.errors import UsageError
from orchestrator.jobs import Request
from orchestrator.ledger import Ledger
from orchestrator.warehouse import project

NOW = "2026-11-20 12:00:00"


@pytest.fixture
def acme(workspace: Workspace) -> Workspace:
    """On one day ACME has many rows, with unusual texts, and VIA has few."""
    workspace.mailing("ACME", "2026-11-19")
    workspace.mailing("VIA", "2026-11-19", number=2)
    workspace.opened_by_many("ACME", "2026-11-19", 500)
    for number, url in enumerate(['https://x/?a="b"|;,', "line\r\nbreak", "", "é", "\x1b[31mred"]):
        workspace.add(
            "email_clicks",
            {
                "brand": "ACME",
                "event_id": f"K{number}",
                "broadcast_id": "ACME-1",
                "customer_id": "C1",
                "url": url,
                "received_at": f"2026-11-19 10:00:0{number}",
            },
        )
    workspace.configure("  - {brand: ACME}\n  - {brand: '*'}")
    return workspace


def heads(
    workspace: Workspace, brand: str = "ACME", *, rows: int = 10, day: str = ""
) -> list[Head]:
    loaded = config.read(workspace.folder / "exports.yml")
    return preview.preview(
        loaded,
        project.find(loaded.folder, None),
        Request(brands=[brand], days=days(day) if day else None),
        most=rows,
        now=utc(NOW),
    )


DIALECTS = (
    "labels: en",
    "encoding: utf-16, labels: nl",
    "encoding: utf-8-sig, line_ending: crlf",
    "encoding: utf-16-le, delimiter: '||', quoting: all, null: 'NULL'",
    "delimiter: ';;', line_ending: crlf, newlines: space, labels: names",
    "encoding: latin-1, header: false, timezone: Europe/Amsterdam",
    "activity_types: [click], additional_fields: {activities: [event_id, is_machine]}",
    "activity_fields: [{column: email_address, as: mail, hash: sha256, salt: pepper}]",
)


def test_the_bytes_are_the_beginning_of_the_written_file(acme: Workspace) -> None:
    numbered = enumerate(DIALECTS)
    lines = [f"  - {{brand: ACME, directory: '{n}', {dialect}}}\n" for n, dialect in numbered]
    acme.configure(f"{''.join(lines)}  - {{brand: '*'}}")
    found = heads(acme, rows=4)
    acme.run(NOW)
    assert sorted(head.path for head in found) == [
        f"{number}/{kind}_ACME_20261119.csv"
        for number in range(len(DIALECTS))
        for kind in ("activity", "broadcast")
    ]
    for head in found:
        complete = (acme.folder / "there" / head.path).read_bytes()
        assert complete.startswith(head.head), head.path
        assert len(head.first) == min(4, head.rows)
        assert (head.head == complete) == (head.rows <= 4)
        assert all(len(row) == len(head.headings) for row in head.first)
        if head.kind == "activity":
            assert len(head.head.decode(head.encoding).splitlines()) >= 4


def test_a_preview_of_all_rows_is_the_complete_file(acme: Workspace) -> None:
    found = heads(acme, rows=506)
    acme.run(NOW)
    for head in found:
        assert (acme.folder / "there" / head.path).read_bytes() == head.head


def test_the_table_has_the_values_of_the_file(acme: Workspace) -> None:
    _, activities = heads(acme, rows=7)
    header, *rows = csv.reader(activities.head.decode().splitlines(keepends=True))
    assert activities.headings == header
    assert [[cell or "" for cell in row] for row in activities.first] == rows
    assert activities.rows == 506
    assert [row[-1] for row in activities.first[:5]] == [
        'https://x/?a="b"|;,',
        "line\r\nbreak",
        "",
        "é",
        "\x1b[31mred",
    ]
    assert activities.first[5][-1] is None


def test_a_compressed_file_is_shown_uncompressed(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME, compression: gzip}")
    _, activities = heads(acme)
    assert activities.path == "activity_ACME_20261119.csv.gz"
    acme.run(NOW)
    complete = gzip.decompress((acme.folder / "there" / activities.path).read_bytes())
    assert complete.startswith(activities.head)
    assert activities.head.startswith(b"Broadcast ID,")


def test_a_brand_of_every_brand_is_shown_and_an_unknown_one_is_refused(acme: Workspace) -> None:
    found = heads(acme, "VIA")
    assert [(head.path, head.rows) for head in found] == [
        ("broadcast_VIA_20261119.csv", 1),
        ("activity_VIA_20261119.csv", 1),
    ]
    with pytest.raises(UsageError, match=r"no brand 'Acne'; did you mean ACME\?; valid: ACME, VIA"):
        heads(acme, "Acne")
    with pytest.raises(UsageError, match="stands for several brands"):
        heads(acme, "*")
    acme.configure("  - {brand: ACME}")
    with pytest.raises(UsageError, match=r"no export of brand 'AMCE'; did you mean ACME\?"):
        heads(acme, "AMCE")


def test_each_export_of_a_brand_shows_its_own_window(acme: Workspace) -> None:
    acme.configure(
        "  - {brand: ACME}\n"
        "  - {brand: ACME, interval: hourly, timezone: Europe/Amsterdam, directory: h}\n"
        "  - {brand: ACME, directory: again, delimiter: ;}\n"
    )
    found = {head.path: head for head in heads(acme) if head.kind == "activity"}
    assert [*found] == [
        "activity_ACME_20261119.csv",
        "again/activity_ACME_20261119.csv",
        "h/activity_ACME_20261120_1100.csv",
    ]
    assert [head.rows for head in found.values()] == [506, 506, 0]
    of_day = {head.path: head.rows for head in heads(acme, day="2026-11-19")}
    assert "h/activity_ACME_20261119_2300.csv" in of_day
    acme.configure("  - {brand: ACME}")
    with pytest.raises(UsageError, match="2026-11-20 is not over for ACME"):
        heads(acme, day="2026-11-20")


def test_a_preview_during_a_run_changes_nothing(acme: Workspace) -> None:
    acme.run("2026-11-19 12:00:00")
    loaded = config.read(acme.folder / "exports.yml")
    ledger = Ledger(loaded.state)
    before = snapshot(acme.folder)
    with (loaded.outbox / ".lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert len(heads(acme)) == len(heads(acme, day="2026-11-19")) == 2
    assert snapshot(acme.folder) == before
    ledger.close()


def test_the_command_prints_the_bytes_and_a_table(acme: Workspace) -> None:
    arguments = ("preview", "--brand", "ACME", "--date", "2026-11-19", "--rows", "3")
    ran = subprocess.run(
        [ORCHESTRATE, *arguments], cwd=acme.folder, capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    shown = b"".join(head.head for head in heads(acme, rows=3))
    assert ran.stdout == shown
    stderr = ran.stderr.decode()
    assert "activity_ACME_20261119.csv: the first 3 of 506 rows" in stderr
    assert r"line\r\n" in stderr
    assert "null" in stderr
    document = json.loads(orchestrate(acme.folder, *arguments, "--json").stdout)
    assert document["exit_code"] == 0
    assert b"".join(base64.b64decode(file["head"]) for file in document["files"]) == shown
    assert document["files"][1]["headings"][0] == "Broadcast ID"
    assert len(document["files"][1]["first"]) == 3
    assert not (acme.folder / "outbox").exists()
    assert not (acme.folder / "state").exists()


def test_rows_are_not_logged(acme: Workspace) -> None:
    arguments = ("preview", "--brand", "VIA", "--date", "2026-11-19", "--log-format", "json")
    ran = orchestrate(acme.folder, *arguments)
    lines = [json.loads(line)["message"] for line in ran.stderr.splitlines()]
    assert lines[-2:] == [
        "activity_VIA_20261119.csv: the first 1 of 1 row",
        "Next, to see where they would go: orchestrate run --dry-run",
    ]
    assert "@" not in ran.stderr
    assert "jan@example.com" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing option '--brand'"),
        (("--brand", "ACME", "--rows", "0"), "greater than or equal to 1"),
        (("--brand", "ACNE", "--date", "2026-11-19"), "did you mean ACME?"),
        (("--brand", "ACME", "--date", "2999-01-01"), "2999-01-01 is not over for ACME"),
    ],
)
def test_wrong_usage_exits_with_2(
    acme: Workspace, arguments: tuple[str, ...], message: str
) -> None:
    ran = orchestrate(acme.folder, "preview", *arguments, COLUMNS="200")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert message in ran.stderr
