"""The demo: sample data, a local SFTP server, a run that delivers to it, and the files there."""

import asyncio
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import asyncssh
import duckdb

from orchestrator import config, loading
from orchestrator.errors import UsageError
from orchestrator.jobs import Request
from orchestrator.pipeline import RunResult
from orchestrator.pipeline import run as pipeline_run
from orchestrator.progress import Progress
from orchestrator.warehouse import project
from orchestrator.warehouse.sql import identifier, literal

_MARKER = ".made-by-orchestrate-demo"
_USER = "brandnaam"
_EXPORTS = """\
# Written by `orchestrate demo`. Its SFTP server runs only during the demo; the destination
# `archive` is a folder and works at any time.
destinations:
  managed:
    sftp:
      host: 127.0.0.1
      port: {port}
      username: {user}
      private_key: keys/id_ed25519
      known_hosts: keys/known_hosts
  archive: {{directory: archive}}
defaults:
  destination: [managed, archive]
  directory: "{{brand}}/{{window_start:%Y}}/{{window_start:%m}}"
  at: "00:00"
  wait: 0s  # the sample data ends now
exports:
  - {{brand: BRANDNAAM, timezone: Europe/Amsterdam, labels: nl}}
  - {{brand: NORDLICHT, timezone: Europe/Berlin, delimiter: ";", quoting: all, encoding: utf-8-sig}}
  - {{brand: "*"}}
keep_local: 14d
"""


def run_demo(folder: Path, *, now: datetime, progress: Progress) -> RunResult:
    """Write sample data, load it, and deliver every daily export to the local server.

    Raises UsageError if the folder contains files that the demo did not write.
    """
    progress("writing sample data")
    raw = prepare(folder)
    os.environ["DUCKDB_PATH"] = str(folder / "warehouse.duckdb")
    found = project.find(folder, "duckdb")
    loading.load_into(found, raw, rejected=folder / "rejected", now=now, progress=progress)
    with sftp_server(folder) as port:
        exports = config.read(write_config(folder, port))
        request = Request(daily_only=True)
        return pipeline_run.run(exports, found, request, now=now, progress=progress)


def prepare(folder: Path) -> Path:
    """Empty the demo's folder, write sample raw files to its subfolder `raw`, and return that.

    Raises UsageError if the folder contains files that the demo did not write.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARKER).exists():
        raise UsageError(f"{folder} contains other files; run the demo in another folder")
    shutil.rmtree(folder, ignore_errors=True)
    raw = folder / "raw"
    raw.mkdir(parents=True)
    (folder / _MARKER).touch()
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(Path(__file__).with_name("sample.sql").read_text(encoding="utf-8"))
        tables = connection.sql(
            "select table_name from duckdb_tables() where not temporary order by table_name"
        ).fetchall()
        for (table,) in tables:
            path = literal(str(raw / f"{table}.parquet"))
            connection.execute(f"copy {identifier(table)} to {path} (format parquet)")
    return raw


@contextmanager
def sftp_server(folder: Path) -> Iterator[int]:
    """Serve `folder/server` by SFTP on a free port of 127.0.0.1, and yield the port.

    New keys for the server and the user are written to `folder/keys`.
    """
    keys, root = folder / "keys", folder / "server"
    keys.mkdir(mode=0o700, exist_ok=True)
    root.mkdir(exist_ok=True)
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    user_key = asyncssh.generate_private_key("ssh-ed25519")
    user_key.write_private_key(keys / "id_ed25519")
    (keys / "id_ed25519").chmod(0o600)
    user_key.write_public_key(keys / "authorized_keys")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host_key],
            authorized_client_keys=str(keys / "authorized_keys"),
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=os.fsencode(root)),
        )

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    port = server.get_port()
    public = host_key.export_public_key().decode().strip()
    (keys / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}\n", encoding="utf-8")
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(server.wait_closed(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def write_config(folder: Path, port: int) -> Path:
    """Write the demo's exports.yml for a server on this port; return the path of the file."""
    (folder / "archive").mkdir(exist_ok=True)
    path = folder / "exports.yml"
    path.write_text(_EXPORTS.format(port=port, user=_USER), encoding="utf-8")
    return path


def delivered_text(folder: Path, *, rows: int = 4) -> str:
    """Return the server's folders and files, and the first rows of one brand's two files."""
    root = folder / "server"
    lines = [f"What arrived on the SFTP server ({root}):"]
    files = []
    for path in sorted(root.rglob("*")):
        indent = "  " * len(path.relative_to(root).parts)
        if path.is_dir():
            lines.append(f"{indent}{path.name}/")
        else:
            lines.append(f"{indent}{path.name}  {path.stat().st_size:,} bytes")
            files.append(path)
    for path in files[:2]:
        text = path.read_text(encoding="utf-8").splitlines()
        lines += ["", f"{path.name}, the first {rows} of {len(text) - 1} rows:"]
        lines += [f"  {line}" for line in text[: rows + 1]]
    return "\n".join(lines)
