"""Write the sample files of docs/samples, from the raw rows next to them.

`make reference` writes them; tests/docs/test_samples.py exports them again and compares.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SAMPLES = Path(__file__).parents[1] / "docs/samples"
DAY = "2017-05-15"


def export(work: Path) -> dict[str, bytes]:
    """Load the raw rows in an empty folder, deliver the day, and return its files by name."""
    shutil.copy(SAMPLES / "exports.yml", work)
    (work / "delivered").mkdir()
    environment = {**os.environ, "DUCKDB_PATH": "warehouse.duckdb"}
    for command in (["load", str(SAMPLES / "raw")], ["daily", "--date", DAY]):
        subprocess.run(
            [sys.executable, "-m", "orchestrator", *command], cwd=work, env=environment, check=True
        )
    return {path.name: path.read_bytes() for path in sorted((work / "delivered").iterdir())}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        for name, content in export(Path(work)).items():
            (SAMPLES / name).write_bytes(content)
