"""Runs are killed at any point, any number of times, and the next run continues."""

import os
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from gpg import Gpg
from kill_workspace import KillWorkspace, kill_workspace, kills
from killed_command import PACKED, POINTS
from unpacked_files import Unpacker

SEED = 20170515
WHEN = ("before", "after")
ONCE = {
    "ledger.open",
    "ledger.plan",
    "warehouse.open",
    "dbt.parse",
    "sftp.connect",
    "outbox.remove",
}
"""Points that are killed at their first pass only. (A run passes ledger.plan again for `*`.)"""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillWorkspace]:
    """A workspace after an undisturbed run."""
    with kill_workspace(tmp_path_factory.mktemp("reference")) as undisturbed:
        undisturbed.finish()
        undisturbed.check(undisturbed)
        yield undisturbed


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillWorkspace]:
    """A workspace with more days, for points that a run passes once per day."""
    with kill_workspace(tmp_path_factory.mktemp("longer"), days=6) as undisturbed:
        undisturbed.finish()
        undisturbed.check(undisturbed)
        yield undisturbed


@pytest.fixture(scope="module")
def unpacker(gpg: Gpg) -> Unpacker:
    """Decrypts and decompresses files, and checks their completion files."""
    return Unpacker(gpg)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, unpacker: Unpacker) -> Iterator[KillWorkspace]:
    """A workspace with packed files and completion files after an undisturbed run."""
    with kill_workspace(tmp_path_factory.mktemp("packed"), unpacker=unpacker) as undisturbed:
        undisturbed.finish()
        undisturbed.check(undisturbed)
        yield undisturbed


@pytest.fixture(scope="module", autouse=True)
def counted(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print at the end how often runs were killed, and at which points."""
    yield
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture
    with capture.global_and_fixture_disabled():
        print(f"\n{kills.total()} kills")  # noqa: T201 - the report of `make faults`
        for where, times in sorted(kills.items()):
            print(f"{times:4}  {where}")  # noqa: T201 - the same


def test_runs_killed_at_each_point_in_turn_deliver_once(
    reference: KillWorkspace, tmp_path: Path
) -> None:
    with kill_workspace(tmp_path / "killed") as here:
        for number, point in enumerate(POINTS):
            here.kill(point, WHEN[number % 2])
        here.finish()
        here.check(reference)


@pytest.mark.faults
def test_runs_killed_during_delivery_deliver_once_if_the_receiver_takes_files_away(
    reference: KillWorkspace, tmp_path: Path
) -> None:
    with kill_workspace(tmp_path / "killed", taking=True) as here:
        for point in ("sftp.rename", "folder.rename", "ledger.renaming", "notes.close"):
            for when in WHEN:
                here.kill(point, when)
        here.finish()
        here.check(reference)


@pytest.mark.faults
@pytest.mark.parametrize("taking", [pytest.param(False, marks=pytest.mark.faults), True])
def test_runs_killed_with_encryption_and_completion_files_deliver_once(
    packed: KillWorkspace, tmp_path: Path, *, taking: bool
) -> None:
    points = {**dict.fromkeys(PACKED, 1), "completion.files": 2, "outbox.publish": 1}
    if taking:  # between the files of a window, and right before and after the manifest
        points = {"sftp.rename": 2, "folder.rename": 5, "ledger.renaming": 4, "notes.close": 1}
    with kill_workspace(tmp_path / "killed", taking=taking, unpacker=packed.unpacker) as here:
        for number, (point, call) in enumerate(points.items()):
            here.kill(point, WHEN[number % 2], call)
        here.finish()
        here.check(packed)


def test_runs_killed_at_random_deliver_once(reference: KillWorkspace, tmp_path: Path) -> None:
    kill_at_random(reference, tmp_path, times=3, taking=False)


@pytest.mark.faults
@pytest.mark.parametrize("taking", [False, True])
@pytest.mark.parametrize("point", POINTS | PACKED)
def test_runs_killed_at_one_point_with_encryption_and_completion_files_deliver_once(
    packed: KillWorkspace, tmp_path: Path, point: str, *, taking: bool
) -> None:
    with kill_workspace(tmp_path / "killed", taking=taking, unpacker=packed.unpacker) as here:
        kill_at_each_pass(here, point)
        here.finish()
        here.check(packed)


@pytest.mark.faults
@pytest.mark.parametrize("taking", [False, True])
def test_runs_killed_at_random_with_encryption_and_completion_files_deliver_once(
    packed: KillWorkspace, tmp_path: Path, *, taking: bool
) -> None:
    kill_at_random(packed, tmp_path, times=40, taking=taking)


@pytest.mark.faults
@pytest.mark.parametrize("taking", [False, True])
@pytest.mark.parametrize("point", POINTS)
def test_runs_killed_repeatedly_at_one_point_deliver_once(
    longer: KillWorkspace, tmp_path: Path, point: str, *, taking: bool
) -> None:
    with kill_workspace(tmp_path / "killed", days=6, taking=taking) as here:
        kill_at_each_pass(here, point)
        here.finish()
        here.check(longer)


@pytest.mark.faults
@pytest.mark.parametrize("taking", [False, True])
def test_runs_killed_at_random_many_times_deliver_once(
    reference: KillWorkspace, tmp_path: Path, *, taking: bool
) -> None:
    kill_at_random(reference, tmp_path, times=60, taking=taking)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("destination", "point"), [("server", "sftp.rename"), ("there", "folder.rename")]
)
def test_no_part_file_is_left_if_the_bytes_change_after_a_kill(
    tmp_path: Path, destination: str, point: str
) -> None:
    with kill_workspace(tmp_path / "killed") as here:
        here.configure(destination=destination)
        here.kill(point, "before")
        root = here.roots[destination]
        mailed = f"broadcast_ACME_{here.days[0]:%Y%m%d}.csv"
        assert list(root.glob(f".{mailed}.*.part"))
        for path in (here.folder / "outbox").glob("*.csv"):
            path.unlink()
        with duckdb.connect(str(here.workspace.warehouse)) as connection:
            connection.execute("update raw.broadcasts set subject = 'Other' where brand = 'ACME'")
        here.finish()
        assert not list(root.glob(f".{mailed}.*.part"))
        assert b"Other" in here.arrived()[destination][mailed]
        assert here.renames()[destination][mailed] == 1
        with sqlite3.connect(here.folder / "state/ledger.db") as ledger:
            revisions = "select max(revision) from windows where export = 'ACME daily'"
            assert ledger.execute(revisions).fetchall() == [(2,)]


def kill_at_each_pass(here: KillWorkspace, point: str) -> None:
    """Kill a run before and after a point, at its first pass and, if there is one, its second."""
    for number in (1, 2)[: 1 if point in ONCE else 2]:
        for when in WHEN:
            here.kill(point, when, number)


def kill_at_random(reference: KillWorkspace, folder: Path, *, times: int, taking: bool) -> None:
    """Kill runs at random moments, in one workspace after another, until `times` were killed."""
    seed = int(os.environ.get("FAULTS_SEED", SEED))
    chance = random.Random(seed)  # noqa: S311 - no secret
    left, rounds = times, 0
    while left:
        rounds += 1
        with kill_workspace(
            folder / str(rounds), taking=taking, unpacker=reference.unpacker
        ) as here:
            print(f"round {rounds}, seed {seed}")  # noqa: T201 - shown if the test fails
            while left:
                delay = chance.uniform(0, reference.seconds)
                run = here.start()
                run.reach("ledger.open before")
                ended = run.wait(delay)
                print(f"{delay:.2f} s: {ended.passed}, exit {ended.code}")  # noqa: T201 - the same
                if not ended.was_killed:
                    assert ended.code == 0, ended
                    break
                left -= 1
                kills[f"at random, {ended.passed}"] += 1
            here.finish()
            here.check(reference)
