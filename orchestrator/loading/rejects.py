"""Rejected rows: gathered as lines of JSON, then published whole under a name that is free."""

import json
import os
import shutil
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from tempfile import NamedTemporaryFile


class Rejects:
    """One table's rejected rows, in a file of the load's own until they are published."""

    def __init__(self, path: Path) -> None:
        """Gather the rows in a new file at `path`."""
        self.rows = 0
        self._file = path.open("w+", encoding="utf-8")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def add(self, line: str) -> None:
        """Keep a row that is a JSON object already."""
        self.rows += 1
        self._file.write(f"{line}\n")

    def add_line(self, label: str, line: int, reason: str, *, raw: bytes) -> None:
        r"""Keep a line that has no columns as text, a byte that is not UTF-8 as \xNN."""
        text = raw.decode(errors="backslashreplace")
        entry = {"file": label, "line": line, "reason": reason, "raw": text}
        self.add(json.dumps(entry, ensure_ascii=False))

    def publish(self, folder: Path, table: str, now: datetime) -> Path | None:
        """Write `<table>-<now>.jsonl`, readable by its owner alone; None if there are no rows."""
        if not self.rows:
            return None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stem = f"{table}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
        self._file.seek(0)
        with NamedTemporaryFile("w", encoding="utf-8", dir=folder, prefix=f".{stem}") as aside:
            shutil.copyfileobj(self._file, aside)  # the temporary file has mode 0600
            aside.flush()
            os.fsync(aside.fileno())
            for number in count(1):
                path = folder / (f"{stem}.jsonl" if number == 1 else f"{stem}-{number}.jsonl")
                try:
                    path.hardlink_to(aside.name)
                except FileExistsError:
                    continue
                return path
        raise AssertionError
