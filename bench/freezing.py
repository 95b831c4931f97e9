"""Freeze the rows of the first day as a run does: python bench/freezing.py FOLDER.

The rows stay in `FOLDER/frozen.duckdb`.
"""

import sys
from datetime import datetime
from pathlib import Path

import data

from orchestrator.warehouse import Warehouse, project
from orchestrator.windows import Window

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "cache").mkdir()
    start, end = (datetime.fromisoformat(f"{day}T00:00Z") for day in (data.DAY, data.NEXT_DAY))
    warehouse = Warehouse.open(project.find(folder, "duckdb"), folder, folder / "cache")
    try:
        warehouse.stage(Window(start, end), tested=False)
    finally:
        warehouse.close()
