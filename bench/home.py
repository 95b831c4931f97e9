"""A folder where `orchestrate` runs: its warehouse, its exports.yml, and what a run leaves."""

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import data
import timing
from timing import Cost

BIN = Path(sys.executable).parent
_HERE = Path(__file__).parent
_WINDOW = {"window_start": data.DAY, "window_end": data.NEXT_DAY}


@dataclass(frozen=True)
class Home:
    """Runs commands as a user would, in a folder with an exports.yml."""

    folder: Path
    env: Mapping[str, str]
    server: int | None = None

    @classmethod
    def make(cls, folder: Path, shape: data.Shape) -> "Home":
        """Make a DuckDB warehouse in a new folder."""
        path = data.make(folder, shape)
        return cls(folder, {"DUCKDB_PATH": str(path), "ORCHESTRATE_TARGET": "duckdb"})

    def daily(self, *arguments: str) -> Cost:
        """Make the first day's files as for the first time, but with dbt's parse kept."""
        return self.anew("daily", "--date", data.DAY, *arguments)

    def anew(self, *arguments: str) -> Cost:
        """Run a command as in a new folder, but with dbt's parse kept."""
        return self._anew([BIN / "orchestrate", *arguments])

    def inside(self, *arguments: str, tested: bool = True) -> tuple[Cost, Cost]:
        """Do the same, and return what all of it cost and what of it dbt did."""
        command = [sys.executable, _HERE / "inside.py", self.steps]
        command += [] if tested else ["--untested"]
        return self._anew([*command, "daily", "--date", data.DAY, *arguments]), self.noted()

    @property
    def steps(self) -> Path:
        """The file in which a command notes what some of its steps cost."""
        return self.folder / "steps.json"

    def noted(self) -> Cost:
        """Return what the last command noted there."""
        return Cost(**json.loads(self.steps.read_text()))

    def run(self, *command: str | Path) -> Cost:
        """Run any command here."""
        return timing.run(command, folder=self.folder, env=self.env, server=self.server)

    def dbt(self, command: str, *arguments: str) -> Cost:
        """Run dbt by hand on the first day."""
        project = _HERE.parent
        return self.run(
            *(BIN / "dbt", "--quiet", command, *arguments),
            *("--project-dir", project / "dbt_project", "--profiles-dir", project / "profiles"),
            *("--target-path", self.folder / "target", "--log-path", self.folder / "target"),
            *("--vars", json.dumps(_WINDOW)),
        )

    def check(self, rows: int) -> None:
        """Raise RuntimeError where the last run did not write so many activity rows."""
        windows = json.loads((self.folder / "output").read_text())["windows"]
        files = [file for window in windows for file in window["files"]]
        found = sum(file["rows"] for file in files if file["kind"] == "activity")
        if found != rows:
            raise RuntimeError(f"{self.folder}: {found:,} of {rows:,} rows were written")

    def _anew(self, command: list[str | Path]) -> Cost:
        # Out of the way, not removed: for seconds after that ext4 looks long for a free inode.
        aside = Path(tempfile.mkdtemp(prefix="before", dir=self.folder))
        for name in ("state", "there", "outbox"):
            if (self.folder / name).exists():
                (self.folder / name).rename(aside / name)
        (self.folder / "there").mkdir()
        if (aside / "outbox/.dbt").exists():  # the parse is kept
            (self.folder / "outbox").mkdir(mode=0o700)
            (aside / "outbox/.dbt").rename(self.folder / "outbox/.dbt")
        return self.run(*command, "--json")
