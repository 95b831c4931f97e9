"""Two runs at once: the second exits. A killed run does not block the next one."""

import os
import signal
from pathlib import Path

from kill_workspace import KillWorkspace, Run, kill_workspace


def paused(here: KillWorkspace) -> Run:
    """Start a run and stop it (SIGSTOP) while it builds the views."""
    run = here.start()
    run.reach("dbt.build before")
    os.killpg(run.pid, signal.SIGSTOP)
    return run


def test_the_second_run_on_an_outbox_exits_and_the_first_continues(tmp_path: Path) -> None:
    with kill_workspace(tmp_path / "killed", days=1) as here:
        first = paused(here)
        second = here.run()
        assert second.code == 75
        assert f"another run (process {first.pid} on " in second.errors
        assert f"is at work in {here.folder / 'outbox'}; try again later" in second.errors
        os.killpg(first.pid, signal.SIGCONT)
        assert first.wait().code == 0
        assert here.run().errors == "nothing is due\n"
        assert set(here.renames()["there"].values()) == {1}


def test_a_killed_run_frees_its_locks_at_once(tmp_path: Path) -> None:
    with kill_workspace(tmp_path / "killed", days=1) as here:
        first = paused(here)
        os.killpg(first.pid, signal.SIGKILL)
        assert first.wait().was_killed
        assert here.run().code == 0


def test_the_second_run_on_a_ledger_exits_with_75(tmp_path: Path) -> None:
    with kill_workspace(tmp_path / "killed", days=1) as here:
        first = paused(here)
        other = here.folder / "other"
        (other / "there").mkdir(parents=True)
        text = (here.folder / "exports.yml").read_text()
        ledger = here.folder / "state/ledger.db"
        (other / "exports.yml").write_text(f"{text}state: sqlite:///{ledger}\n")
        second = here.run(config=other / "exports.yml")
        assert second.code == 75
        assert f"another run (process {first.pid} on " in second.errors
        os.killpg(first.pid, signal.SIGKILL)
        assert first.wait().was_killed
        assert here.run(config=other / "exports.yml").code == 0
