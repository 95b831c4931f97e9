"""Take the pictures of the docs: the status page and the lineage page, in Debian's Chromium.

Run it with `make pictures`; it writes docs/pictures/*.png. The status page shows six weeks of a
ledger that this script generates, so that the picture shows each kind of problem.
"""

import os
import random
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/support"))

from browser import Browser  # noqa: E402 - found by the line above

from orchestrator import config  # noqa: E402 - after the path, like the import above
from orchestrator.cli import status_page  # noqa: E402
from orchestrator.commands.status import read_status  # noqa: E402
from orchestrator.commands.status_history import read_history  # noqa: E402
from orchestrator.config.exports import File  # noqa: E402
from orchestrator.jobs import Exports, Request  # noqa: E402
from orchestrator.ledger import Delivery, Entry, Failure, Ledger  # noqa: E402

_EXPORTS = """
destinations: {managed: {directory: managed}}
exports:
  - {brand: BRANDNAAM, timezone: Europe/Amsterdam}
  - {brand: NORDLICHT, timezone: Europe/Berlin}
  - {brand: CAFÉ ROUGE, timezone: Europe/Paris}
  - {brand: HOURLY, interval: hourly}
"""
_ACTIVITIES = {"broadcast": 9_000, "open": 4_200, "click": 700, "soft_bounce": 90, "complaint": 2}
_REASON = (
    "destination 'managed': sftp.example.org:22 does not answer: connection refused. Is the server "
    "running, and does a firewall allow port 22?"
)


def status(folder: Path) -> Path:
    """Write a ledger of six weeks and its status page; return the path of the page."""
    (folder / "exports.yml").write_text(_EXPORTS, encoding="utf-8")
    (folder / "managed").mkdir()
    loaded, now = config.read(folder / "exports.yml"), datetime.now(UTC)
    chance = random.Random(7)  # noqa: S311 - a picture
    with closing(Ledger(loaded.state)) as ledger:
        for entry in Exports(loaded, Request()):
            window = entry.export.calendar.last_due(now)
            for age in range(40):
                _window(ledger, entry.export.brand, Entry(entry.name, window, 1), age, chance)
                window = entry.export.calendar.containing(window.start - timedelta(minutes=1))
    with closing(Ledger(loaded.state, read_only=True)) as ledger:
        result = read_status(loaded, Request(), ledger, now=now)
        history = read_history(loaded, Request(), ledger, now=now)
    page = folder / "status.html"
    status_page.write_page(result, history, page, config=Path("/srv/exports/exports.yml"))
    return page


def _window(ledger: Ledger, brand: str, entry: Entry, age: int, chance: random.Random) -> None:
    if brand == "NORDLICHT" and age < 2:  # noqa: PLR2004 - its server has been down since yesterday
        ledger.plan([entry])
        failure = Failure(entry.export, entry.window, 1, "failed", _REASON)
        ledger.failures.note([failure])
        return
    if brand == "CAFÉ ROUGE" and age in (12, 13):
        rows = {}
    else:
        rows = {k: round(n * chance.uniform(0.5, 1.5)) for k, n in _ACTIVITIES.items()}
        rows = {k: n // 24 for k, n in rows.items()} if brand == "HOURLY" else rows
    at = entry.window.end + timedelta(hours=6, minutes=chance.expovariate(0.3))
    if brand == "HOURLY":
        at = entry.window.end + timedelta(minutes=15, seconds=chance.expovariate(0.02))
    total = sum(rows.values())
    file = File(
        "activity", f"activity_{brand}_{entry.window.start:%Y%m%d%H}.csv", 90 * total, "0" * 64
    )
    written = replace(
        entry, activity_rows=total, broadcast_rows=len(rows), choice="all", activities=rows
    )
    ledger.write([(written, [Delivery(file, "managed", at)])])
    ledger.finish([written])


def lineage(folder: Path) -> Path:
    """Write the pages of `orchestrate docs` for the current project; return the lineage page."""
    environment = {**os.environ, "DUCKDB_PATH": str(folder / "warehouse.duckdb")}
    for arguments in (
        ["load", str(ROOT / "docs/samples/raw")],  # the lineage needs the raw tables
        ["docs", "--output", str(folder / "docs")],
    ):
        command = [sys.executable, "-m", "orchestrator", *arguments]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return folder / "docs/index.html"


def main() -> None:
    """Take every picture in light and dark, wide and narrow; `docs` shows the wide, light ones."""
    to = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/pictures"
    to.mkdir(exist_ok=True)
    browser = Browser()
    with tempfile.TemporaryDirectory() as name:
        for subject, page in (("status", status(Path(name))), ("lineage", lineage(Path(name)))):
            for width, dark in ((1400, False), (1400, True), (400, False), (400, True)):
                browser.open(page, width=width, height=900, dark=dark)
                look = "dark" if dark else "light"
                browser.screenshot(to / f"{subject}-{width}-{look}.png")
    browser.close()


if __name__ == "__main__":
    main()
