"""Ctrl-C in dbt, which keeps KeyboardInterrupt to itself: the run ends, the next one goes on."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from place import Place
from test_cli import orchestrate

_TOLD = "error: interrupted; what was made and delivered so far is kept, and the next run goes on"
_DAYS = [datetime.now(UTC).date() - timedelta(days=number) for number in (4, 3, 2)]
# The real command line, with SIGINT some seconds after dbt began: to parse, to build a window, or
# to build one that may have late rows. The product has no hook for it.
_INTERRUPTED = """
import os, signal, sys, threading
from orchestrator import audit, cli, dbt

where, seconds, *arguments = sys.argv[1:]
invoke, late = dbt.dbtRunner.invoke, audit.Audit.late
waiting = {where}

def invoked(runner, words):
    if words[0] in waiting:
        waiting.clear()
        interrupt = lambda: os.kill(os.getpid(), signal.SIGINT)
        threading.Timer(float(seconds), interrupt).start()
    return invoke(runner, words)

def looked(*words):
    waiting.update({"build"} if "late" in waiting else ())
    return late(*words)

dbt.dbtRunner.invoke, audit.Audit.late = invoked, looked
sys.argv = ["orchestrate", *arguments]
cli.main()
"""


@pytest.mark.parametrize(
    ("where", "seconds"),
    [
        ("parse", 0),
        pytest.param("parse", 0.3, marks=pytest.mark.faults),
        pytest.param("build", 0.1, marks=pytest.mark.faults),
        ("build", 0.4),
        ("late", 0.1),
        pytest.param("late", 0.3, marks=pytest.mark.faults),
    ],
)
def test_an_interrupted_run_says_so_and_the_next_one_goes_on(
    place: Place, where: str, seconds: float
) -> None:
    place.configure(f"  - {{brand: ACME, start: {_DAYS[0]}}}")
    for number, day in enumerate(_DAYS, start=1):
        place.mailing("ACME", str(day), number=number)
    if where == "late":  # a window that an earlier run has delivered
        assert orchestrate(place.folder, "daily", "--date", str(_DAYS[0])).returncode == 0
    before = place.all_bytes()
    ran = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, where, str(seconds), "daily"],
        cwd=place.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    told = ran.stderr.splitlines()
    assert (ran.returncode, told[-1], ran.stdout) == (130, _TOLD, ""), ran.stderr
    # Of dbt, or of Python, not a word.
    assert all(line.startswith(("window ", "looking for ")) for line in told[:-1]), ran.stderr
    assert ("looking for late rows" in told) == (where == "late")
    after = place.all_bytes()
    assert before.items() <= after.items()
    assert len(after) >= (6 if where == "late" else 0)
    following = orchestrate(place.folder, "daily")
    assert following.returncode == 0, following.stderr
    assert "revision" not in following.stderr
    names = {f"{kind}_ACME_{day:%Y%m%d}.csv" for kind in ("activity", "broadcast") for day in _DAYS}
    assert names <= set(place.files())
    assert after.items() <= place.all_bytes().items()
    delivered = [line for line in following.stderr.splitlines() if line.startswith("delivered ")]
    assert 2 * len(delivered) == len(place.files()) - len(after)
    assert "nothing is due" in orchestrate(place.folder, "daily").stderr
