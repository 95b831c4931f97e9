"""The order of flushes, renames and ledger writes: each file is flushed before it is recorded."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gpg import Gpg
from kill_workspace import SFTP_SERVERS
from sshd import Sshd
from unpacked_files import Unpacker
from workspace import Workspace

from orchestrator import config
from orchestrator.ledger import Ledger

NOW = "2026-11-20 07:00"
ACTIVITY = "activity_ACME_20261119.csv"
BROADCAST = "broadcast_ACME_20261119.csv"


class Recorder:
    """Records flushes, renames and ledger writes in their order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.events: list[str] = []
        self._root = root
        self._wrap(monkeypatch, os, "fsync", lambda file: f"fsync {self._name(file)}")
        self._wrap(
            monkeypatch, os, "replace", lambda old, new: f"replace {self._at(old)} {self._at(new)}"
        )
        self._wrap(monkeypatch, Ledger, "write", lambda *_: "ledger write")
        self._wrap(
            monkeypatch,
            Ledger,
            "announce",
            lambda _, files, **__: f"ledger {'renaming' if files else 'arrived'}",
        )

    def at(self, pattern: str) -> int:
        """Return the position of the event that matches; there must be exactly one."""
        found = [n for n, event in enumerate(self.events) if re.fullmatch(pattern, event)]
        assert len(found) == 1, (pattern, self.events)
        return found[0]

    def all(self, pattern: str) -> list[int]:
        """Return the positions of all events that match."""
        return [n for n, event in enumerate(self.events) if re.fullmatch(pattern, event)]

    def _wrap(
        self,
        monkeypatch: pytest.MonkeyPatch,
        owner: object,
        name: str,
        describe: Callable[..., str],
    ) -> None:
        original = getattr(owner, name)

        def called(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it takes
            event = describe(*args, **kwargs)
            result = original(*args, **kwargs)
            self.events.append(event)  # when the call has ended
            return result

        monkeypatch.setattr(owner, name, called)

    def _name(self, file: Any) -> str:  # noqa: ANN401 - a descriptor or a file
        number = file if isinstance(file, int) else file.fileno()
        return self._at(Path(f"/proc/self/fd/{number}").readlink())

    def _at(self, path: str | Path) -> str:
        return os.path.relpath(path, self._root)


@pytest.fixture
def acme(workspace: Workspace) -> Workspace:
    """One brand with one mailing on 19 November."""
    workspace.mailing("ACME", "2026-11-19")
    return workspace


@pytest.mark.parametrize("packed", [False, True])
def test_files_and_folders_are_flushed_before_the_step_that_relies_on_them(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch, gpg: Gpg, *, packed: bool
) -> None:
    names = [BROADCAST, ACTIVITY]
    if packed:
        (acme.folder / "key.asc").write_bytes(Unpacker(gpg).key)
        names = [f"{name}.gz.pgp" for name in names]
        names += [*(f"{name}.ready" for name in names), f"{names[1]}.manifest.json"]
    acme.configure(
        "  - {brand: ACME, directory: 'a/b'}", defaults=repr(Unpacker.defaults if packed else {})
    )
    recorder = Recorder(monkeypatch, acme.folder)
    assert acme.run(NOW).exit_code == 0
    at = recorder.at
    for name in names:
        written = next(
            event.split()[1]
            for event in recorder.events
            if event.startswith("replace outbox/.work/") and event.endswith(name)
        )
        part = rf"there/a/b/\.{name}\.[0-9a-f]+\.part"
        noted = max(n for n in recorder.all("ledger renaming") if n < at(f"replace {part} .*"))
        steps = [
            at(f"fsync {written}"),
            at(f"replace {written} outbox/a/b/{name}"),
            at("ledger write"),
            at(f"fsync {part}"),
            noted,
            at(f"replace {part} there/a/b/{name}"),
            at("ledger arrived"),
        ]
        assert steps == sorted(steps)
        # Between a new name and the record that relies on it, its folders were flushed.
        for folders, begun, counted in (
            (("outbox/a/b", "outbox/a", "outbox"), steps[1], steps[2]),
            (("there/a/b", "there/a", "there"), steps[3], steps[4]),
            (("there/a/b",), steps[5], steps[6]),
        ):
            for folder in folders:
                assert [n for n in recorder.all(f"fsync {folder}") if begun < n < counted]
    # The folder that contains the new outbox, ledger and destination.
    assert recorder.all(r"fsync \.")


def test_a_server_flushes_each_file_before_it_is_renamed(
    acme: Workspace, start_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    program = shutil.which("sftp-server", path=SFTP_SERVERS)
    log = tmp_path / "sftp.log"
    root = tmp_path / "sshd0/root"
    server = start_sshd(subsystem=f"{program} -e -l VERBOSE -d {root} 2>> {log}")
    acme.configure("  - {brand: ACME}", destinations=repr({"managed": {"sftp": server.line()}}))
    assert acme.run(NOW).exit_code == 0
    lines = [re.sub(r"\.[0-9a-f]{16}\.part", ".part", line) for line in log.read_text().split("\n")]
    steps = [line.split(" flags")[0] for line in lines if re.match("open|fsync|posix-rename", line)]
    assert steps == [
        step
        for name in (BROADCAST, ACTIVITY)
        for step in (
            f'open ".{name}.part"',
            f'fsync ".{name}.part"',
            f'posix-rename old ".{name}.part" new "{name}"',
        )
    ]


def test_the_ledger_flushes_each_transaction(acme: Workspace) -> None:
    """SQLite, PRAGMA synchronous: 2 is FULL, which in WAL mode flushes at each commit."""
    acme.configure("  - {brand: ACME}")
    ledger = Ledger(config.read(acme.folder / "exports.yml").state)
    try:
        with ledger.history.database.begin() as session:
            assert session.connection.execute("pragma journal_mode").fetchone() == ("wal",)
            assert session.connection.execute("pragma synchronous").fetchone() == (2,)
    finally:
        ledger.close()
