"""A folder as destination."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from upload_files import deliver, error_text, ignore, make_upload, part_name, random_bytes
from workspace import tree

from orchestrator.config.destinations import Directory
from orchestrator.delivery import UnreachableError, Upload


def test_files_arrive_complete_and_replace_earlier_ones(tmp_path: Path) -> None:
    root = tmp_path / "mounted" / "exports"
    root.mkdir(parents=True)
    uploads = [
        make_upload(tmp_path, "2017/a.csv", random_bytes(700_000)),
        make_upload(tmp_path, "empty.csv", b""),
    ]
    published: list[Upload] = []

    [outcome] = deliver(Directory(directory=root), [uploads], published.append)

    assert outcome.error is None
    assert published == uploads
    assert tree(root) == ["2017/a.csv", "empty.csv"]
    assert (root / "2017/a.csv").read_bytes() == random_bytes(700_000)

    [again] = deliver(
        Directory(directory=root), [[make_upload(tmp_path, "2017/a.csv", b"new")]], ignore
    )
    assert again.error is None
    assert tree(root) == ["2017/a.csv", "empty.csv"]
    assert (root / "2017/a.csv").read_bytes() == b"new"


def test_the_receiver_can_read_delivered_files(tmp_path: Path) -> None:
    upload = make_upload(tmp_path, "a.csv")
    upload.local.chmod(0o600)  # as in the outbox

    (tmp_path / "root").mkdir()

    deliver(Directory(directory=tmp_path / "root"), [[upload]], ignore)

    (tmp_path / "plain").touch()
    mode = (tmp_path / "root/a.csv").stat().st_mode
    assert stat.S_IMODE(mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_the_folder_itself_is_never_created(tmp_path: Path) -> None:
    """A share that is not mounted: the folder below the mount point does not exist."""
    root = tmp_path / "mounted" / "exports"
    uploads = [make_upload(tmp_path, "a.csv"), make_upload(tmp_path, "in/b.csv")]

    outcomes = deliver(Directory(directory=root), [[upload] for upload in uploads], ignore)

    for outcome in outcomes:
        assert error_text(outcome) == (
            f"{root}: is not a folder. Check that it is mounted; if it is a new destination, "
            f"create it: mkdir -p {root}"
        )
        assert isinstance(outcome.error, UnreachableError)
        assert outcome.unsure is None
    assert not root.parent.exists()


def test_a_folder_that_is_unmounted_during_delivery_is_not_created(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    uploads = [make_upload(tmp_path, "in/a.csv"), make_upload(tmp_path, "in/b.csv")]

    def unmount(upload: Upload) -> None:
        del upload
        root.rename(tmp_path / "elsewhere")

    [outcome] = deliver(Directory(directory=root), [uploads], unmount)

    assert f"{root}: is not a folder" in error_text(outcome)
    assert outcome.uploads_done == (uploads[0],)
    assert not root.exists()


@pytest.mark.parametrize(
    ("remote", "words"),
    [
        ("../a.csv", "it needs a name and no '..'"),
        ("x/../../a.csv", "it needs a name and no '..'"),
        ("/a.csv", "is absolute, and would leave the destination's folder"),
        ("", "it needs a name"),
    ],
)
def test_paths_outside_the_folder_are_refused(tmp_path: Path, remote: str, words: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    upload = make_upload(tmp_path, "local.csv")
    outside = replace(upload, file=replace(upload.file, path=remote))
    before = tree(tmp_path)

    [outcome] = deliver(Directory(directory=root), [[outside]], ignore)

    assert words in error_text(outcome)
    assert tree(tmp_path) == before


def test_a_leftover_part_file_is_overwritten(tmp_path: Path) -> None:
    upload = make_upload(tmp_path, "a.csv")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / part_name(upload)).write_bytes(b"half a file, and then something longer")

    [outcome] = deliver(Directory(directory=tmp_path / "root"), [[upload]], ignore)

    assert outcome.error is None
    assert tree(tmp_path / "root") == ["a.csv"]
    assert (tmp_path / "root/a.csv").read_bytes() == upload.local.read_bytes()


def test_a_folder_that_cannot_be_created_fails_only_its_batch(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "in").write_text("I am a file")
    batches = [
        [make_upload(tmp_path, "in/a.csv"), make_upload(tmp_path, "b.csv")],
        [make_upload(tmp_path, "c.csv")],
    ]

    blocked, free = deliver(Directory(directory=root), batches, ignore)

    assert (
        f"{root}/in/{part_name(batches[0][0]).removeprefix('in/')}: cannot be written"
        in error_text(blocked)
    )
    assert blocked.uploads_done == ()
    assert free.error is None
    assert tree(root) == ["c.csv", "in"]


def test_a_folder_with_the_name_of_the_file_is_an_error(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a.csv").mkdir(parents=True)

    [outcome] = deliver(Directory(directory=root), [[make_upload(tmp_path, "a.csv")]], ignore)

    assert f"{root}/a.csv: cannot be written (Is a directory)" in error_text(outcome)


def test_a_changed_local_file_is_not_published(tmp_path: Path) -> None:
    upload = make_upload(tmp_path, "a.csv", b"recorded")
    upload.local.write_bytes(b"tampered")
    (tmp_path / "root").mkdir()

    [outcome] = deliver(Directory(directory=tmp_path / "root"), [[upload]], ignore)

    assert "is no longer the file that was recorded" in error_text(outcome)
    assert tree(tmp_path / "root") == []


def test_a_rename_before_a_kill_is_not_repeated(tmp_path: Path) -> None:
    upload = make_upload(tmp_path, "a.csv")
    announced = replace(upload, rename_sent=True)
    root = tmp_path / "root"
    root.mkdir()
    (root / part_name(upload)).write_bytes(upload.local.read_bytes())

    [first] = deliver(
        Directory(directory=root), [[announced]], ignore
    )  # not renamed: the part exists
    assert tree(root) == ["a.csv"]
    (root / "a.csv").unlink()  # the receiver moved it away
    [second] = deliver(Directory(directory=root), [[announced]], ignore)

    assert first.error is second.error is None
    assert tree(root) == []


def test_part_files_of_an_abandoned_upload_are_removed(tmp_path: Path) -> None:
    old, new = make_upload(tmp_path, "in/a.csv", b"old"), make_upload(tmp_path, "in/a.csv", b"new")
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    strangers = ["in/.a.csv.0123456789abcdef.part", "in/.something.part"]
    for name in (part_name(old), *strangers):
        (root / name).write_bytes(b"ol")
    replacing = replace(new, abandoned=(old.file, new.file))

    [outcome] = deliver(Directory(directory=root), [[replacing]], ignore)

    assert outcome.error is None
    assert tree(root) == [*strangers, "in/a.csv"]
