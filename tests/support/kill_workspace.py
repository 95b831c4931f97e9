"""An arena: a place with several windows, brands and destinations, whose runs are killed."""

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
from opened_files import Opener
from receiver import Taker, Watch
from sshd import Sshd
from workspace import Workspace

SFTP_SERVERS = "/usr/lib/openssh:/usr/libexec/openssh:/usr/lib/ssh:/usr/libexec"
_RENAME = re.compile(r'posix-rename old "(?:.*?)" new "(.*?)"')
_STRANGERS = (".something.part", ".activity_ACME_2020.csv.0123456789abcdef.part", "notes.txt")
BRANDS = ("ACME", "BETA", "GAMMA")
_NOW = datetime.now(UTC)
_LAST = (_NOW - timedelta(hours=12)).date() - timedelta(days=1)
"""The last day that is due: the next one comes due twelve hours after the tests began."""
_numbers = itertools.count(1)
kills: Counter[str] = Counter()
"""By the last point of killed_command.py that a killed run had passed."""


@dataclass(frozen=True)
class Ended:
    """How a run ended; `passed` is the last point of killed_command.py that it passed."""

    code: int
    errors: str
    passed: str

    @property
    def was_killed(self) -> bool:
        """Tell whether it was killed."""
        return self.code == -signal.SIGKILL


class KillWorkspace:
    """Runs the real command line in process groups of its own, and looks at what arrived."""

    def __init__(
        self,
        workspace: Workspace,
        server: Sshd,
        log: Path,
        *,
        days: int,
        opener: Opener | None = None,
    ) -> None:
        self.workspace = workspace
        self.opener = opener
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
        # The folders are there before: a rename in one that is new would not be seen.
        for root in (self.roots["there"], *(self.roots["there"] / f"in/{d:%d}" for d in self.days)):
            root.mkdir(parents=True, exist_ok=True)
            self._watch.add(root, self.roots["there"])
        for root in self.roots.values():
            for name in _STRANGERS:
                (root / name).write_text("not ours")
                os.utime(root / name, (1, 1))
        self.taker: Taker | None = None
        self.seconds = 0.0  # that the last undisturbed run took

    def configure(self, **defaults: Any) -> None:  # noqa: ANN401 - any of an export
        """Write exports.yml; no window comes due while a test runs."""
        packing = {}
        if self.opener:
            packing = self.opener.defaults
            (self.folder / "key.asc").write_bytes(self.opener.key)
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
        """Start `daily`, which dies at this point if one is named."""
        return Run(self, point, when, number)

    def run(
        self, point: str = "-", when: str = "-", number: int = 1, *, config: Path | None = None
    ) -> Ended:
        """Run `daily` to its end, whichever that is."""
        return Run(self, point, when, number, config=config).wait()

    def kill(self, point: str, when: str, number: int = 1) -> None:
        """Run `daily` until it is killed at this point, which it must reach."""
        ended = self.run(point, when, number)
        assert (ended.was_killed, ended.passed) == (True, f"{point} {when}"), ended
        kills[f"at {point}"] += 1
        if self.opener:
            self.opener.look([*self.roots.values(), self.folder / "outbox"])

    def finish(self) -> None:
        """Run `daily` undisturbed, and again, when nothing may be due."""
        run = self.start()
        run.reach("ledger.open before")  # the rest is Python's imports
        begun = monotonic()
        ended = run.wait()
        self.seconds = monotonic() - begun
        assert ended.code == 0, ended
        assert self.run().errors == "nothing is due\n"

    def arrived(self) -> dict[str, dict[str, bytes]]:
        """Return every file at each destination but the strangers', which must be unchanged."""
        return {name: _files(root) for name, root in self.roots.items()}

    def check(self, reference: "KillWorkspace") -> None:
        """Assert that every file came once, and all is as `reference`, undisturbed, has it."""
        got = self.arrived()
        if self.taker:
            assert got == {"server": {}, "there": {}}
            got = self.taker.stop()
        outbox = {"outbox": _files(self.folder / "outbox")}
        wanted = reference.arrived() | {"outbox": _files(reference.folder / "outbox")}
        assert self._opened(got | outbox) == self._opened(wanted)
        if self.opener:  # its bytes are others each time: what arrived is what lies here
            self.opener.in_order(_RENAME.findall(self._log.read_text()))
            self.opener.look([*self.roots.values(), self.folder / "outbox"])
            assert got == dict.fromkeys(got, outbox["outbox"])
        assert list(self.temporary.iterdir()) == []
        once = {name: dict.fromkeys(files, 1) for name, files in got.items()}
        assert self.renames() == once

    def _opened(self, roots: dict[str, dict[str, bytes]]) -> dict[str, dict[str, Any]]:
        opener = self.opener
        return {name: opener.opened(root) if opener else root for name, root in roots.items()}

    def renames(self) -> dict[str, dict[str, int]]:
        """Return how often each final name was given, as each destination saw it."""
        served = Counter(_RENAME.findall(self._log.read_text()))
        return {"server": dict(served), "there": dict(Counter(self._watch.names()))}


class Run:
    """A command on its way, in a process group of its own."""

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
        self._said = self._trace.with_suffix(".said")  # on stderr, for stdout has nothing
        named = str(config or kill_workspace.folder / "exports.yml")
        self._process = forked_commands.start(
            *("killed", point, when, str(number), "daily", "--config", named),
            cwd=Path.cwd(),
            env=environment,
            said=(self._said, self._said),
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

    def wait(self, seconds: float | None = None) -> Ended:
        """Wait for its end, or kill the group after so many seconds."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.join()
        code = self._process.exitcode
        assert code is not None
        passed = self._trace.read_text().splitlines() or ["nothing"]
        return Ended(code, self._said.read_text(), passed[-1])


@contextmanager
def kill_workspace(
    folder: Path, *, days: int = 3, taking: bool = False, opener: Opener | None = None
) -> Iterator[KillWorkspace]:
    """Yield an arena with a server of its own; with `taking` the receiver takes each file away.

    With an `opener` files are compressed and encrypted, and completion files follow them.
    """
    folder.mkdir(exist_ok=True)
    log = folder / "sftp.log"
    log.touch()
    program = shutil.which("sftp-server", path=SFTP_SERVERS)
    root = folder / "sshd/root"
    # Told so, it logs every rename that it is asked for (sftp-server(8)).
    logging = f"{program} -e -l INFO -d {root} 2>> {log}"
    server = Sshd(folder / "sshd", subsystem=logging)
    server.start()
    with pytest.MonkeyPatch.context() as monkeypatch:
        home = folder / "home"
        home.mkdir()
        made = KillWorkspace(Workspace(home, monkeypatch), server, log, days=days, opener=opener)
        if taking:
            made.taker = Taker(made.roots, folder / "taken", spare=_STRANGERS)
        try:
            yield made
        finally:
            if made.taker:
                made.taker.stop()
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
