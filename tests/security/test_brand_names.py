"""No brand or pattern leads out of its folder, here or on a server, nor stops other brands."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import duckdb
import pytest
from canaries import readable_by_others
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres_server import Postgres
from sshd import Sshd
from upload_files import deliver, error_text, ignore, make_upload, part_name
from workspace import Workspace, tree

from orchestrator import config
from orchestrator.commands.demo import sftp_server
from orchestrator.config import patterns
from orchestrator.config.destinations import Directory
from orchestrator.config.exports import Export
from orchestrator.errors import ConfigError
from orchestrator.pipeline import Status

BAD = [
    "../../etc",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "..",
    ".",
    " ",
    "a\nb",
    "a\x1b[2Jb",
    "a\x85b",
    "a\u2028b",
    "gnp.\u202eexe",
    "\u2066x",
    "\0",
    ".work",
    ".lock",
    ".dbt",
    "..\uff0f..\uff0fetc",
    "x" * 300,
    "é" * 150,
]
GOOD = [
    "\uff0e\uff0e\uff0fetc",  # full-width characters are ordinary letters
    "NUL",
    "~root",
    "-rf",
    "$(id)",
    "`id`",
    "'; drop table raw.email_opens; --",
    'say "hi"',
    "%s%n{0}",
    "{brand}{window_start:%Y}",
    "cafe\u0301",
    "العربية",
    "👩‍👩‍👧",
    "x" * 170,
]


MOMENT = datetime(2026, 11, 20, tzinfo=UTC)


def test_brands_of_the_warehouse_stay_in_their_folder_or_are_refused(
    workspace: Workspace, sftp_server: Sshd
) -> None:
    for brand in [*GOOD, *BAD]:
        workspace.mailing(brand, "2026-11-19")
    workspace.folder.joinpath("far").mkdir()
    sftp = (
        f"{{sftp: {{host: {sftp_server.host}, port: {sftp_server.port},"
        f" username: {sftp_server.username}, private_key: {sftp_server.client_key},"
        f" known_hosts: {sftp_server.known_hosts}}}}}"
    )
    workspace.configure(
        "  - {brand: '*'}",
        defaults="{destination: [there, far], directory: '{brand}/{window_start:%Y}'}",
        destinations=f"{{there: {{directory: there}}, far: {sftp}}}",
    )
    before = {*tree(workspace.folder)}
    result = workspace.run("2026-11-20 07:00")
    assert result.exit_code == 3
    by_brand = {window.brand: window for window in result.windows}
    refused = {name for name, window in by_brand.items() if window.status is Status.FAILED}
    assert refused == set(BAD)
    for name in BAD:
        error = by_brand[name].error or ""
        assert error.isprintable()
        assert (
            "brand is part of file names" in error
            or "begins with a dot" in error
            or "longer" in error
        )
    arrived = sorted(
        f"{brand}/2026/{kind}_{brand}_20261119.csv"
        for brand in GOOD
        for kind in ("activity", "broadcast")
    )
    assert workspace.files() == arrived
    assert tree(sftp_server.root) == arrived
    for name in {*tree(workspace.folder)} - before:
        assert name.split("/")[0] in ("there", "outbox", "state", "sshd0")
    with duckdb.connect(str(workspace.warehouse), read_only=True) as connection:
        opens = connection.execute("select count(*) from raw.email_opens").fetchall()
    assert opens == [(len(GOOD) + len(BAD),)]


PIECES = st.lists(
    st.sampled_from(
        [
            "{brand}",
            "{window_start:%Y%m%d}",
            "{window_start:../%Y%j}",
            "{window_start:/%Y}",
            "a",
            ".",
            "..",
            "/",
            "//",
            "~",
            "\\",
            "\x00",
            "\n",
            "%",
            "{",
            "}",
            "{{",
            "}}",
            "{brand!r}",
            "{brand.__class__}",
            "{brand:>99}",
            "{window_start.tzinfo}",
            "{0}",
            "\uff0f",
            "é",
        ]
    ),
    max_size=6,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(
    directory=PIECES,
    name=PIECES,
    brand=st.one_of(st.sampled_from([*GOOD, *BAD]), st.text(max_size=12)),
)
def test_no_pattern_leads_out_of_its_folder(directory: str, name: str, brand: str) -> None:
    try:
        export = Export.model_validate(
            {
                "brand": "*",
                "destination": "there",
                "directory": directory,
                "activity_file": f"{name}{{brand}}{{window_start:%Y%m%d}}",
            }
        )
        window = export.calendar.containing(MOMENT)
        patterns.check_brand(brand)
        path = patterns.check_path(export.path("activity", brand=brand, window=window))
    except UnicodeError:
        raise
    except ValueError:
        return
    relative = PurePosixPath(path.lstrip("/"))
    assert not any(part.startswith(".") for part in relative.parts)
    top = Path("/top/of/all")
    assert os.path.normpath(top / relative).startswith(f"{top}/")
    assert all(len(part.encode()) <= 200 for part in relative.parts)


@pytest.mark.parametrize("brand", [brand for brand in BAD if brand not in (".lock", ".dbt")])
def test_invalid_brands_in_exports_yml_are_refused(workspace: Workspace, brand: str) -> None:
    workspace.configure(f"  - {{brand: {json.dumps(brand)}}}", defaults="{directory: '{brand}'}")
    with pytest.raises(ConfigError, match=r"exports\.yml:4"):
        config.read(workspace.folder / "exports.yml")


def test_no_brand_stops_others_with_a_ledger_in_postgresql(
    workspace: Workspace, postgres: Postgres
) -> None:
    brands = [
        "y" * 400,
        "é" * 150,
        "a/b",
        "..",
        "a\nb",
        "\0",
        "NUL",
        "caf\u00e9",
        "'; drop",
        "%s{0}",
    ]
    for brand in [*brands, "GOOD"]:
        workspace.mailing(brand, "2026-11-19")
    workspace.configure("  - {brand: '*'}")
    with (workspace.folder / "exports.yml").open("a", encoding="utf-8") as file:
        file.write(f"state: {postgres.database()}\n")
    for day in (20, 21):
        result = workspace.run(f"2026-11-{day} 07:00")
        assert result.exit_code == 3
        failed = {window.brand for window in result.windows if window.status is Status.FAILED}
        assert failed == {*brands[:6]}
    names = {*workspace.files()}
    assert {f"activity_GOOD_202611{day}.csv" for day in (19, 20)} <= names
    assert len(names) == 2 * 2 * 5


@pytest.mark.parametrize("rename_sent", [False, True])
def test_symlinks_in_a_destination_are_not_followed(tmp_path: Path, *, rename_sent: bool) -> None:
    """A user who can write to the destination can predict the part file of an empty window."""
    upload = replace(make_upload(tmp_path, "a.csv"), rename_sent=rename_sent)
    precious = tmp_path / "precious"
    precious.write_text("precious")
    top = tmp_path / "there"
    top.mkdir()
    for name in (part_name(upload), "a.csv"):
        (top / name).symlink_to(precious)
    [outcome] = deliver(Directory(directory=top), [[upload]], ignore)
    assert outcome.error is None
    assert precious.read_text() == "precious"
    assert [path.name for path in top.iterdir() if not path.is_symlink()] == ["a.csv"]
    assert (top / "a.csv").read_bytes() == upload.local.read_bytes()


def test_a_part_file_with_an_announced_rename_is_kept_if_writing_fails(tmp_path: Path) -> None:
    """Without the part file, the next run would treat the file as published."""
    upload = replace(make_upload(tmp_path, "a.csv"), rename_sent=True)
    top = tmp_path / "there"
    top.mkdir()
    (top / "a.csv").write_text("old")
    (top / part_name(upload)).write_bytes(upload.local.read_bytes())
    good = upload.local.read_bytes()
    upload.local.write_bytes(b"changed")
    [outcome] = deliver(Directory(directory=top), [[upload]], ignore)
    assert "is no longer the file that was recorded" in error_text(outcome)
    upload.local.write_bytes(good)
    [outcome] = deliver(Directory(directory=top), [[upload]], ignore)
    assert outcome.error is None
    assert (top / "a.csv").read_bytes() == good


def test_the_keys_of_the_demo_can_be_read_by_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with sftp_server(tmp_path):
            assert not readable_by_others(tmp_path / "keys")
    finally:
        os.umask(before)
