"""Many files at once: their order, several destinations, and connections that are cut."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sshd import Sshd
from tcp_proxy import Proxy
from upload_files import (
    MEBIBYTE,
    QUICK,
    deliver,
    error_text,
    ignore,
    make_upload,
    part_name,
    random_bytes,
)
from workspace import Steps, tree

from orchestrator.config.destinations import Directory
from orchestrator.delivery import Retry, Upload, deliver_all


def test_two_hundred_files_arrive_over_one_connection(sftp_server: Sshd, tmp_path: Path) -> None:
    batches = [
        [
            make_upload(tmp_path, f"{n % 7}/broadcast_{n}.csv"),
            make_upload(tmp_path, f"{n % 7}/activity_{n}.csv"),
        ]
        for n in range(100)
    ]
    published: list[Upload] = []

    with Proxy.before(sftp_server.port) as proxy:
        sftp_server.pin(f"[127.0.0.1]:{proxy.port} {sftp_server.host_key_line}")
        destination = sftp_server.destination(port=proxy.port)
        outcomes = deliver(destination, batches, published.append)

    assert [list(outcome.uploads_done) for outcome in outcomes] == batches
    assert len(proxy.sent) == 1
    assert len(published) == 200
    assert tree(sftp_server.root) == sorted(
        upload.file.path for batch in batches for upload in batch
    )


def test_a_file_starts_only_after_the_file_before_it(sftp_server: Sshd, tmp_path: Path) -> None:
    """On the server no activity file, not even a part, appears without its broadcast file."""
    batches = [
        [
            make_upload(tmp_path, f"{n}/broadcast.csv", random_bytes(900_000 if n % 2 else 10)),
            make_upload(tmp_path, f"{n}/activity.csv", random_bytes(300_000)),
            make_upload(tmp_path, f"{n}/activity.csv.ready", b"1"),
        ]
        for n in range(20)
    ]
    seen: list[tuple[str, ...]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for n in range(20):
                # Look for later names first: the files that they follow must already exist.
                folder = sftp_server.root / str(n)
                seen.append(
                    tuple(
                        word
                        for word in ("ready", "activity.csv", ".activity.csv", "broadcast.csv")
                        if any(
                            name == word or name.endswith(word) or name.startswith(f"{word}.")
                            for name in tree(folder)
                        )
                    )
                )

    order: dict[str, list[str]] = {}
    watcher = threading.Thread(target=watch)
    watcher.start()
    outcomes = deliver(
        sftp_server.destination(),
        batches,
        lambda upload: order.setdefault(upload.file.path.split("/")[0], []).append(
            upload.file.path
        ),
    )
    done.set()
    watcher.join()

    assert all(outcome.error is None for outcome in outcomes)
    assert order == {str(n): [upload.file.path for upload in batches[n]] for n in range(20)}
    for names in seen:
        if "ready" in names:
            assert "activity.csv" in names
        if "activity.csv" in names or ".activity.csv" in names:
            assert "broadcast.csv" in names


def test_a_failing_batch_stops_at_its_file_and_the_others_continue(
    sftp_server: Sshd, tmp_path: Path
) -> None:
    (sftp_server.root / "bad.csv").mkdir()
    batches = [
        [
            make_upload(tmp_path, "a.csv"),
            make_upload(tmp_path, "bad.csv"),
            make_upload(tmp_path, "after.csv"),
        ],
        [make_upload(tmp_path, "b.csv"), make_upload(tmp_path, "c.csv")],
        [],
    ]

    bad, good, empty = deliver(sftp_server.destination(), batches, ignore)

    assert bad.uploads_done == (batches[0][0],)
    assert "bad.csv exists and may not be replaced" in error_text(bad)
    assert good.error is None
    assert empty == type(empty)((), None)
    assert [name for name in tree(sftp_server.root) if ".part" not in name] == [
        "a.csv",
        "b.csv",
        "c.csv",
    ]


def test_empty_batches_need_no_connection(sftp_server: Sshd) -> None:
    sftp_server.kill()

    assert [outcome.error for outcome in deliver(sftp_server.destination(), [[], []], ignore)] == [
        None,
        None,
    ]


def test_a_cut_transfer_resumes_where_it_stopped(sftp_server: Sshd, tmp_path: Path) -> None:
    size = 40 * MEBIBYTE
    upload = make_upload(tmp_path, "a.csv", random_bytes(size))
    cuts = (16 * MEBIBYTE, 12 * MEBIBYTE)  # some MiB in transit at a cut are lost

    with Proxy.before(sftp_server.port, cuts=cuts) as proxy:
        sftp_server.pin(f"[127.0.0.1]:{proxy.port} {sftp_server.host_key_line}")
        destination = sftp_server.destination(port=proxy.port)
        [outcome] = deliver(destination, [[upload]], ignore, retry=QUICK)

    assert outcome.error is None
    assert (sftp_server.root / "a.csv").read_bytes() == upload.local.read_bytes()
    assert tree(sftp_server.root) == ["a.csv"]
    assert len(proxy.sent) == 3
    assert proxy.sent[2] < size - 17 * MEBIBYTE  # more than either connection alone had sent


def test_an_upload_that_makes_progress_is_retried_without_limit(
    sftp_server: Sshd, tmp_path: Path
) -> None:
    upload = make_upload(tmp_path, "a.csv", random_bytes(56 * MEBIBYTE))

    with Proxy.before(sftp_server.port, cuts=(12 * MEBIBYTE,) * 4) as proxy:
        sftp_server.pin(f"[127.0.0.1]:{proxy.port} {sftp_server.host_key_line}")
        destination = sftp_server.destination(port=proxy.port)
        [outcome] = deliver(destination, [[upload]], ignore, retry=QUICK)

    assert outcome.error is None
    assert len(proxy.sent) == 5


def test_an_upload_without_progress_is_given_up(sftp_server: Sshd, tmp_path: Path) -> None:
    batches = [
        [make_upload(tmp_path, "a.csv", random_bytes(MEBIBYTE))],
        [make_upload(tmp_path, "b.csv", random_bytes(MEBIBYTE))],
    ]

    with Proxy.before(sftp_server.port, cuts=(500,) * 9) as proxy:
        sftp_server.pin(f"[127.0.0.1]:{proxy.port} {sftp_server.host_key_line}")
        destination = sftp_server.destination(port=proxy.port)
        outcomes = deliver(destination, batches, ignore, retry=QUICK)

    assert len(proxy.sent) == QUICK.attempts
    assert all("Gave up after attempt 3;" in error_text(outcome) for outcome in outcomes)


def test_an_upload_resumes_after_the_server_was_killed_and_restarted(
    sftp_server: Sshd, tmp_path: Path
) -> None:
    big = make_upload(tmp_path, "big.csv", random_bytes(64 * MEBIBYTE))
    batches = [[make_upload(tmp_path, f"{n}.csv")] for n in range(5)] + [[big]]

    def kill_during_the_upload() -> None:
        part = sftp_server.root / part_name(big)
        while not part.exists() or part.stat().st_size < 8 * MEBIBYTE:
            time.sleep(0.002)
        sftp_server.kill()
        kept.append(part.stat().st_size)
        sftp_server.start()

    kept: list[int] = []
    killer = threading.Thread(target=kill_during_the_upload)
    killer.start()
    published: list[Upload] = []
    outcomes = deliver(
        sftp_server.destination(), batches, published.append, retry=Retry(5, pause=0.3, growth=2)
    )
    killer.join()

    assert all(outcome.error is None for outcome in outcomes)
    assert 8 * MEBIBYTE <= kept[0] < big.file.size
    assert sorted(upload.file.path for upload in published) == tree(sftp_server.root)
    assert (sftp_server.root / "big.csv").read_bytes() == big.local.read_bytes()


def test_an_error_while_recording_stops_the_delivery(sftp_server: Sshd, tmp_path: Path) -> None:
    """What cannot be recorded must not be published."""
    batches = [
        [make_upload(tmp_path, f"{n}a.csv"), make_upload(tmp_path, f"{n}b.csv")] for n in range(3)
    ]

    def fail(upload: Upload) -> None:
        raise RuntimeError(upload.file.path)

    with pytest.raises(RuntimeError, match=r"a\.csv"):
        deliver(sftp_server.destination(), batches, fail)
    assert not any(name.endswith("b.csv") for name in tree(sftp_server.root))


def test_a_destination_that_is_down_does_not_delay_the_others(
    start_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    up, down = start_sshd(), start_sshd()
    down.kill()
    batches = [[make_upload(tmp_path, "a.csv"), make_upload(tmp_path, "b.csv")]]
    (tmp_path / "archive").mkdir()
    calls: list[tuple[str, str]] = []
    last: dict[str, float] = {}

    def note(name: str, upload: Upload) -> None:
        calls.append((name, upload.file.path))
        last[name] = time.monotonic()

    async def announce(name: str, upload: Upload) -> None:
        calls.append((f"renaming {name}", upload.file.path))

    outcomes = deliver_all(
        {
            "down": (down.destination(), batches),
            "archive": (Directory(directory=tmp_path / "archive"), batches),
            "managed": (up.destination(), batches),
        },
        note,
        on_renaming=announce,
        retry=Retry(attempts=2, pause=2, growth=1),
    )
    end = time.monotonic()

    assert list(outcomes) == ["down", "archive", "managed"]
    assert "cannot connect" in error_text(outcomes["down"][0])
    for name, root in (("archive", tmp_path / "archive"), ("managed", up.root)):
        assert outcomes[name][0].error is None
        assert tree(root) == ["a.csv", "b.csv"]
        assert last[name] < end - 1
        assert [call for call in calls if call[0].endswith(name)] == [
            (f"renaming {name}", "a.csv"),
            (name, "a.csv"),
            (f"renaming {name}", "b.csv"),
            (name, "b.csv"),
        ]


@pytest.mark.parametrize("kind", ["folder", "sftp"])
def test_progress_counts_the_bytes_of_a_file_while_it_is_sent(
    sftp_server: Sshd, tmp_path: Path, kind: str
) -> None:
    archive = Directory(directory=tmp_path / "archive")
    archive.directory.mkdir()
    batch = [
        make_upload(tmp_path, "a.csv", random_bytes(600_000)),
        make_upload(tmp_path, "b.csv", random_bytes(2_000_000)),
    ]
    steps = Steps()
    seen: list[str] = []

    async def announce(name: str, upload: Upload) -> None:
        seen.append(f"{name} {upload.file.path}: {steps.details()}")

    deliver_all(
        {kind: (archive if kind == "folder" else sftp_server.destination(), [batch])},
        lambda *_: None,
        on_renaming=announce,
        progress=steps,
    )

    assert steps.names == ["delivering 2 files, 2.6 MB"]
    assert seen == [f"{kind} a.csv: ['600.0 kB sent']", f"{kind} b.csv: ['1 file, 2.6 MB sent']"]
    assert steps.details() == ["2 files, 2.6 MB sent"]


def test_progress_counts_each_byte_of_a_cut_upload_once(sftp_server: Sshd, tmp_path: Path) -> None:
    upload = make_upload(tmp_path, "a.csv", random_bytes(3 * MEBIBYTE))
    steps = Steps()
    with Proxy.before(sftp_server.port, cuts=(2 * MEBIBYTE,)) as proxy:
        sftp_server.pin(f"[127.0.0.1]:{proxy.port} {sftp_server.host_key_line}")
        deliver_all(
            {"managed": (sftp_server.destination(port=proxy.port), [[upload]])},
            lambda *_: None,
            retry=QUICK,
            progress=steps,
        )
    assert steps.details() == ["1 file, 3.1 MB sent"]


def test_empty_batches_are_not_reported_as_a_step(tmp_path: Path) -> None:
    steps = Steps()
    archive = Directory(directory=tmp_path)
    deliver_all({"archive": (archive, [[]])}, lambda *_: None, progress=steps)
    assert steps.names == []
