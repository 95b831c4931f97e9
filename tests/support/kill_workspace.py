"""A workspace with several windows, brands and destinations, whose runs are killed."""

import itertools
import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import forked_commands
import pytest
from receiver import TakingReceiver, Watch
from sshd import Sshd
from unpacked_files import Unpacker
from workspace import Workspace

SFTP_SERVERS = "/usr/lib/openssh:/usr/libexec/openssh:/usr/lib/ssh:/usr/libexec"
_RENAME = re.compile(r'posix-rename old "(?:.*?)" new "(.*?)"')
_STRANGERS = (".something.part", ".activity_ACME_2020.csv.0123456789abcdef.part", "notes.txt")
BRANDS = ("ACME", "BETA", "GAMMA")
_NOW = datetime.now(UTC)
_LAST = (_NOW - timedelta(hours=12)).date() - timedelta(days=1)
"""The last day that is due: the next one is due twelve hours after the tests started."""
_numbers = itertools.count(1)
kills: Counter[str] = Counter()
"""Number of kills, by the last point of killed_command.py that the killed run had passed."""


@dataclass(frozen=True)
class RunEnd:
    """How a run ended; `passed` is the last point of killed_command.py that it passed."""

    code: int
    errors: str
    passed: str

    @property
    def was_killed(self) -> bool:
        """Whether it was killed."""
        return self.code == -signal.SIGKILL


class KillWorkspace:
    """Runs the real command line in separate process groups, and checks the delivered files."""

    def __init__(
        self,
        workspace: Workspace,
        server: Sshd,
        log: Path,
        *,
        days: int,
        unpacker: Unpacker | None = None,
    ) -> None:
        self.workspace = workspace
        self.unpacker = unpacker
        self.folder = workspace.folder
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir()
        self._server = server
        self._log = log
        self.roots = {"server": server.root, "there": self.folder / "there"}
        self.days = [_LAST - timedelta(days=number) for number in reversed(range(days))]
        for number, day in enumerate(self.days, start=1):
            for brand in BRANDS:
                workspace.mailing(brand, str(day), number=number)
        workspace.opened_by_many("ACME", str(self.days[0]), 8000)  # takes several requests
        self.configure()
        self._watch = Watch()
        # The folders exist beforehand: a rename in a new folder would not be seen.
        for root in (self.roots["there"], *(self.roots["there"] / f"in/{d:%d}" for d in self.days)):
            root.mkdir(parents=True, exist_ok=True)
            self._watch.add(root, self.roots["there"])
        for root in self.roots.values():
            for name in _STRANGERS:
                (root / name).write_text("not ours")
                os.utime(root / name, (1, 1))
        self.receiver: TakingReceiver | None = None
        self.seconds = 0.0  # duration of the last undisturbed run

    def configure(self, **defaults: Any) -> None:  # noqa: ANN401 - any of an export
        """Write exports.yml; no other window becomes due while a test runs."""
        packing = {}
        if self.unpacker:
            packing = self.unpacker.defaults
            (self.folder / "key.asc").write_bytes(self.unpacker.key)
        settings = {
            "destination": ["server", "there"],
            "at": f"{_NOW + timedelta(hours=12):%H:%M}",
            "start": str(self.days[0]),
            **packing,
            **defaults,
        }
        self.workspace.configure(
            "  - {brand: ACME}\n  - {brand: BETA, directory: 'in/{window_start:%d}'}\n"
            "  - {brand: '*', delimiter: ';'}",
            defaults=repr(settings),
            destinations=repr(
                {"server": {"sftp": self._server.line()}, "there": {"directory": "there"}}
            ),
        )

    def start(self, point: str = "-", when: str = "-", number: int = 1) -> "Run":
        """Start `daily`, which is killed at this point if one is given."""
        return Run(self, point, when, number)

    def run(
        self, point: str = "-", when: str = "-", number: int = 1, *, config: Path | None = None
    ) -> RunEnd:
        """Run `daily` until it ends or is killed."""
        return Run(self, point, when, number, config=config).wait()

    def kill(self, point: str, when: str, number: int = 1) -> None:
        """Run `daily` until it is killed at this point, which it must reach."""
        ended = self.run(point, when, number)
        assert (ended.was_killed, ended.passed) == (True, f"{point} {when}"), ended
        kills[f"at {point}"] += 1
        if self.unpacker:
            self.unpacker.assert_unreadable([*self.roots.values(), self.folder / "outbox"])

    def finish(self) -> None:
        """Run `daily` undisturbed, and once more, when nothing may be due."""
        run = self.start()
        run.reach("ledger.open before")  # the rest is Python's imports
        begun = monotonic()
        ended = run.wait()
        self.seconds = monotonic() - begun
        assert ended.code == 0, ended
        assert self.run().errors == "nothing is due\n"

    def arrived(self) -> dict[str, dict[str, bytes]]:
        """Return the files of each destination; assert that foreign files are unchanged."""
        return {name: _files(root) for name, root in self.roots.items()}

    def check(self, reference: "KillWorkspace") -> None:
        """Assert that every file came once, and equals that of the undisturbed `reference`."""
        got = self.arrived()
        if self.receiver:
            assert got == {"server": {}, "there": {}}
            got = self.receiver.stop()
        outbox = {"outbox": _files(self.folder / "outbox")}
        wanted = reference.arrived() | {"outbox": _files(reference.folder / "outbox")}
        assert self._unpacked(got | outbox) == self._unpacked(wanted)
        if self.unpacker:  # encrypted bytes differ each time: compare with the outbox
            self.unpacker.assert_order(_RENAME.findall(self._log.read_text()))
            self.unpacker.assert_unreadable([*self.roots.values(), self.folder / "outbox"])
            assert got == dict.fromkeys(got, outbox["outbox"])
        assert list(self.temporary.iterdir()) == []
        once = {name: dict.fromkeys(files, 1) for name, files in got.items()}
        assert self.renames() == once

    def _unpacked(self, roots: dict[str, dict[str, bytes]]) -> dict[str, dict[str, Any]]:
        unpacker = self.unpacker
        return {name: unpacker.unpacked(root) if unpacker else root for name, root in roots.items()}

    def renames(self) -> dict[str, dict[str, int]]:
        """Return how often each destination saw a rename to each final name."""
        served = Counter(_RENAME.findall(self._log.read_text()))
        return {"server": dict(served), "there": dict(Counter(self._watch.names()))}


class Run:
    """A running command, in a separate process group."""

    def __init__(
        self,
        kill_workspace: KillWorkspace,
        point: str,
        when: str,
        number: int,
        *,
        config: Path | None = None,
    ) -> None:
        self._trace = kill_workspace.folder / f"trace{next(_numbers)}"
        self._trace.touch()
        environment = {
            **os.environ,
            "DUCKDB_PATH": str(kill_workspace.workspace.warehouse),
            "TMPDIR": str(kill_workspace.temporary),
            "TRACE": str(self._trace),
        }
        self._output = self._trace.with_suffix(".output")  # stderr only: stdout is empty
        named = str(config or kill_workspace.folder / "exports.yml")
        self._process = forked_commands.start(
            *("killed", point, when, str(number), "daily", "--config", named),
            cwd=Path.cwd(),
            env=environment,
            output=(self._output, self._output),
            parsed=False,
        )

    @property
    def pid(self) -> int:
        """The process, and its group."""
        assert self._process.pid
        return self._process.pid

    def reach(self, passed: str) -> None:
        """Wait until the run has passed this point."""
        deadline = monotonic() + 120
        while passed not in self._trace.read_text():
            assert self._process.is_alive()
            assert monotonic() < deadline
            sleep(0.01)

    def wait(self, seconds: float | None = None) -> RunEnd:
        """Wait for its end, or kill the group after this number of seconds."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.join()
        code = self._process.exitcode
        assert code is not None
        passed = self._trace.read_text().splitlines() or ["nothing"]
        return RunEnd(code, self._output.read_text(), passed[-1])


@contextmanager
def kill_workspace(
    folder: Path, *, days: int = 3, taking: bool = False, unpacker: Unpacker | None = None
) -> Iterator[KillWorkspace]:
    """Yield a workspace with a server; with `taking`, a receiver takes each file away at once.

    With an `unpacker`, files are compressed and encrypted, and have completion files.
    """
    folder.mkdir(exist_ok=True)
    log = folder / "sftp.log"
    log.touch()
    program = shutil.which("sftp-server", path=SFTP_SERVERS)
    root = folder / "sshd/root"
    # With these options it logs every rename that is requested (sftp-server(8)).
    logging = f"{program} -e -l INFO -d {root} 2>> {log}"
    server = Sshd(folder / "sshd", subsystem=logging)
    server.start()
    with pytest.MonkeyPatch.context() as monkeypatch:
        home = folder / "home"
        home.mkdir()
        created = KillWorkspace(
            Workspace(home, monkeypatch), server, log, days=days, unpacker=unpacker
        )
        if taking:
            created.receiver = TakingReceiver(created.roots, folder / "taken", spare=_STRANGERS)
        try:
            yield created
        finally:
            if created.receiver:
                created.receiver.stop()
            server.kill()


def _files(root: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name in _STRANGERS:
            assert (path.read_text(), path.stat().st_mtime) == ("not ours", 1)
        elif path.is_file() and name.split("/")[0] not in (".lock", ".dbt"):
            found[name] = path.read_bytes()
    return found
