"""Upload files as a run does: python bench/sending.py FILE.

The JSON file contains the `destination`, and the name, SHA-256 and size of each of the `files`.
"""

import json
import sys
from pathlib import Path

from orchestrator.config.destinations import Sftp
from orchestrator.config.exports import File
from orchestrator.delivery import Upload, deliver_all

if __name__ == "__main__":
    sending = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    uploads = [
        Upload(Path(name), File("activity", name, size, sha256))
        for name, sha256, size in sending["files"]
    ]
    pairs = [
        uploads[start : start + 2] for start in range(0, len(uploads), 2)
    ]  # the two of a brand
    destination = Sftp(**sending["destination"])
    outcomes = deliver_all({"there": (destination, pairs)}, lambda _name, _upload: None)
    for outcome in outcomes["there"]:
        if outcome.error:
            raise outcome.error
