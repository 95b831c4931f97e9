"""The Dockerfile and compose.yml agree, and their services work; no image is built."""

import getpass
import json
import re
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from forked_commands import orchestrate
from postgres_server import Postgres
from postgres_workspace import PostgresWorkspace
from workspace import ROOT, Workspace, is_root

from orchestrator import config
from orchestrator.commands import schedule
from orchestrator.commands.schedule import Scheduler
from orchestrator.config.destinations import Sftp

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
ROLE = (ROOT / "container/role.sql").read_text(encoding="utf-8")
SCRIPT = (ROOT / "container/sftp.sh").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
VARIABLES = (ROOT / "docs/reference/environment.md").read_text(encoding="utf-8")


def mounts(service: str) -> list[list[str]]:
    return [mount.split(":") for mount in SERVICES[service]["volumes"]]


def test_every_image_is_pinned() -> None:
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", DOCKERFILE, re.MULTILINE)
    own = {name for _, name in stages}
    bases = [image for image, _ in stages if image not in own]
    assert bases
    pulled = [service["image"] for service in SERVICES.values() if "build" not in service]
    for image in (*bases, *pulled):
        assert re.search(r":\d+\.\d+", image), image


def test_built_images_have_the_version_of_the_package() -> None:
    built = [service["image"] for service in SERVICES.values() if "build" in service]
    assert {image.split(":")[1] for image in built} == {version("event-based-export")}
    assert f"--tag {SERVICES['orchestrate']['image']} ." in DOCKERFILE
    for service in SERVICES.values():
        target = service.get("build", {}).get("target")
        assert target is None or f" AS {target}\n" in DOCKERFILE


def test_every_copied_file_exists_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    included = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copies = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source for line in copies for source in line.split()}
    assert sources == included
    for source in sources:
        assert (ROOT / source).exists(), source


def test_every_mount_has_its_volume_or_file_and_its_folder_in_the_image() -> None:
    created = set(re.findall(r" (/[a-z]+)\b", DOCKERFILE))
    for name in SERVICES:
        for source, there, *_ in mounts(name):
            if source.startswith("."):
                assert (ROOT / source).is_file(), source
            else:
                assert source in COMPOSE["volumes"]
            assert name == "postgres" or "/" + there.split("/")[1] in created, there
    used = {source for name in SERVICES for source, *_ in mounts(name)}
    assert set(COMPOSE["volumes"]) <= used


def test_every_variable_is_documented() -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", VARIABLES, re.MULTILINE))
    assert set(SERVICES["orchestrate"]["environment"]) <= documented


def test_the_image_contains_no_installer() -> None:
    """The last stage, and the environment that it copies from the stage `build`."""
    stages = DOCKERFILE.split("\nFROM ")[1:]
    (build,) = [stage for stage in stages if stage.startswith("base AS build\n")]
    last = stages[-1]
    runs = [line for line in build.splitlines() if line.startswith("RUN ")]
    assert runs[-1] == "RUN pip uninstall --yes setuptools pip"
    assert "RUN pip uninstall --yes setuptools wheel pip" in last


def test_the_role_may_do_what_a_run_needs_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> None:
    """In the image psql runs role.sql; this test fills in the password and the database itself."""
    workspace = PostgresWorkspace(tmp_path, monkeypatch, postgres.warehouse())
    user = SERVICES["orchestrate"]["environment"]["PGUSER"]
    assert SERVICES["postgres"]["environment"]["EXPORTS_PASSWORD"].startswith("${PGPASSWORD:")
    database = SERVICES["postgres"]["environment"]["POSTGRES_DB"]
    getenv, _, statements = ROLE.partition("\\getenv password EXPORTS_PASSWORD\n")
    assert {line[:2] for line in getenv.splitlines()} == {"--"}
    statements = statements.replace(":'password'", "'a pass word'")
    workspace.execute(statements.replace(database, workspace.environment["PGDATABASE"]))
    (role,) = workspace.execute(
        "select rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls from pg_roles"
        f" where rolname = '{user}'"
    )
    assert set(role) == {False}
    monkeypatch.setenv("PGUSER", user)
    monkeypatch.setenv("PGPASSWORD", "a pass word")
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "broadcasts.csv").write_text(
        "brand,broadcast_id,channel,broadcast_type,description,subject,sent_on,received_at\n"
        "ACME,B,email,SINGLE,,News,2026-11-19T10:00:00Z,2026-11-19T10:00:00Z\n"
    )
    workspace.configure("  - {brand: ACME}")
    ran = orchestrate(tmp_path, "load", "raw")
    assert ran.returncode == 0, ran.stderr
    ran = orchestrate(tmp_path, "daily", "--date", "2026-11-19")
    assert ran.returncode == 0, ran.stderr
    assert "ACME" in ran.stderr


def test_the_server_forwards_nothing(server: dict[str, Any]) -> None:
    command = ["ssh", "-p", str(server["port"]), "-i", server["private_key"], "-N"]
    command += ["-o", f"UserKnownHostsFile={server['known_hosts']}", "-o", "BatchMode=yes"]
    command += ["-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:0:127.0.0.1:1"]
    ran = subprocess.run(
        [*command, f"{server['username']}@{server['host']}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode != 0
    assert "remote port forwarding failed" in ran.stderr


def test_the_example_matches_the_services() -> None:
    (destination,) = config.read(ROOT / "container/exports.yml").destinations.values()
    assert isinstance(destination, Sftp)
    assert destination.host in SERVICES
    keys = {there for _, there, *_ in mounts("orchestrate")}
    assert str(Path(str(destination.private_key)).parent) in keys
    assert ["keys", "/keys"] in mounts("sftp")


def test_kubernetes_runs_the_image_as_its_user(workspace: Workspace) -> None:
    workspace.configure("  - {brand: ACME}")
    loaded = config.read(workspace.folder / "exports.yml")
    program = Path("/opt/orchestrate/bin/orchestrate")
    text = schedule.schedule_units(
        loaded, Scheduler.KUBERNETES, program=program, target=None, now=datetime.now(UTC)
    ).units
    pod = yaml.safe_load(text)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == SERVICES["orchestrate"]["image"]
    assert f"docker build --tag {container['image']} .\n" in text
    user = int(re.findall(r"useradd --uid (\d+)", DOCKERFILE)[0])
    assert pod["securityContext"] == {"runAsNonRoot": True, "runAsUser": user, "fsGroup": user}


def test_the_wheel_contains_project_profiles_and_assets(tmp_path: Path) -> None:
    (line,) = re.findall(r"^RUN pip install (--no-deps .*) \.$", DOCKERFILE, re.MULTILINE)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", *line.split()]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {
        "orchestrator/project/dbt_project/dbt_project.yml",
        "orchestrator/project/profiles/profiles.yml",
        "orchestrator/assets/lineage.html",
        "orchestrator/assets/schedule/orchestrate.yaml.jinja",
    } <= names


@pytest.fixture
def server(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The service `sftp`, with separate folders and a separate port, as a destination."""
    for name in ("server", "keys", "files"):
        (tmp_path / name).mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = re.sub("/(?=(?:server|keys|files)\\b)", f"{tmp_path}/", SCRIPT)
    script = script.replace("[sftp]:2222", f"[127.0.0.1]:{port}").replace("2222", str(port))
    script = script.replace(
        "UsePAM=no", "UsePAM=no -o StrictModes=no"
    )  # everybody can write to /tmp
    if is_root():  # the container does not run as root
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with (tmp_path / "sshd.log").open("wb") as log:
        process = subprocess.Popen(["sh", "-c", script], stderr=log)
    for _ in range(200):
        if "listening" in (tmp_path / "sshd.log").read_text():
            break
        time.sleep(0.05)
    example = yaml.safe_load((ROOT / "container/exports.yml").read_text(encoding="utf-8"))
    line = example["destinations"]["managed"]["sftp"]
    for key in ("private_key", "known_hosts"):
        line[key] = f"{tmp_path}{line[key]}"
    yield line | {"host": "127.0.0.1", "port": port, "username": getpass.getuser()}
    process.kill()
    process.wait()


def test_the_server_receives_files_with_its_pinned_key(
    workspace: Workspace, server: dict[str, Any]
) -> None:
    workspace.mailing("ACME", "2026-11-19")
    workspace.configure("  - {brand: ACME}", destinations=json.dumps({"managed": {"sftp": server}}))
    assert workspace.run("2026-11-20 07:00").exit_code == 0
    assert workspace.files("files") == ["activity_ACME_20261119.csv", "broadcast_ACME_20261119.csv"]
