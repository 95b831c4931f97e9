"""A folder in which `orchestrate` runs: warehouse, exports.yml, and the files of runs."""

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
    """Runs commands as a user would, in a folder with an exports.yml.

    `server` is the process id of a server whose CPU time counts, such as PostgreSQL's.
    """

    folder: Path
    env: Mapping[str, str]
    server: int | None = None

    @classmethod
    def make(cls, folder: Path, shape: data.Shape) -> "Home":
        """Create a DuckDB warehouse in a new folder."""
        path = data.create(folder, shape)
        return cls(folder, {"DUCKDB_PATH": str(path), "ORCHESTRATE_TARGET": "duckdb"})

    def daily(self) -> Cost:
        """Export the first day, as `first_run` does."""
        return self.first_run(BIN / "orchestrate", "daily", "--date", data.DAY)

    def again(self) -> Cost:
        """Export the first day once more, as the next revision, with the ledger as it is."""
        return self.run(BIN / "orchestrate", "daily", "--date", data.DAY, "--force", "--json")

    def inside(self, *, tested: bool = True) -> tuple[Cost, Cost]:
        """Build the files of the first day; return the cost of all, and the cost of dbt in it."""
        options = [] if tested else ["--untested"]
        command = (sys.executable, _HERE / "inside.py", self.steps, *options)
        cost = self.first_run(*command, "daily", "--date", data.DAY, "--no-deliver")
        return cost, self.step_cost()

    @property
    def steps(self) -> Path:
        """The file to which a command writes the cost of some of its steps."""
        return self.folder / "steps.json"

    def step_cost(self) -> Cost:
        """Return the cost that the last command wrote to `steps`."""
        return Cost(**json.loads(self.steps.read_text()))

    def run(self, *command: str | Path) -> Cost:
        """Run any command in the folder."""
        return timing.run(command, folder=self.folder, env=self.env, server=self.server)

    def dbt(self, command: str, *arguments: str) -> Cost:
        """Run dbt itself on the first day."""
        project = _HERE.parent
        return self.run(
            *(BIN / "dbt", "--quiet", command, *arguments),
            *("--project-dir", project / "dbt_project", "--profiles-dir", project / "profiles"),
            *("--target-path", self.folder / "target", "--log-path", self.folder / "target"),
            *("--vars", json.dumps(_WINDOW)),
        )

    def check(self, rows: int) -> None:
        """Raise RuntimeError unless the last run wrote this number of activity rows."""
        windows = json.loads((self.folder / "output").read_text())["windows"]
        files = [file for window in windows for file in window["files"]]
        found = sum(file["rows"] for file in files if file["kind"] == "activity")
        if found != rows:
            raise RuntimeError(f"{self.folder}: {found:,} of {rows:,} rows were written")

    def first_run(self, *command: str | Path) -> Cost:
        """Run `orchestrate` as in a new folder, without ledger and files, but with dbt's parse."""
        # Old files are moved, not removed: for seconds after a removal, ext4 is slow to find a free
        # inode, and the measured run would pay for it.
        before = Path(tempfile.mkdtemp(prefix="before", dir=self.folder))
        for name in ("state", "there", "outbox"):
            if (self.folder / name).exists():
                (self.folder / name).rename(before / name)
        (self.folder / "there").mkdir()
        if (before / "outbox/.dbt").exists():
            (self.folder / "outbox").mkdir(mode=0o700)
            (before / "outbox/.dbt").rename(self.folder / "outbox/.dbt")
        return self.run(*command, "--json")
