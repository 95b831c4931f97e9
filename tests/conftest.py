"""Fixtures of many tests: real servers, a browser, GnuPG and workspaces."""

import gc
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from dbt_parse_cache import cache_compilation, shared_parse
from gpg import Gpg
from postgres_server import Postgres
from raw_files import PostgresWarehouse, Warehouse
from spark_cluster import SparkCluster
from sshd import Sshd
from workspace import Workspace

gc.set_threshold(200_000)  # as a command does, see orchestrator.__main__


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the environment: no settings of the developer, and a folder for dbt's parse."""
    for name in [*os.environ]:
        if name.startswith(("DBT_", "DUCKDB_", "ORCHESTRATE_")):
            del os.environ[name]
    if "PARSED" not in os.environ:
        os.environ["PARSED"] = tempfile.mkdtemp(prefix="parsed")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop("PARSED")))


@pytest.fixture(scope="session", autouse=True)
def _shared_parse() -> Iterator[None]:
    cache_compilation()
    with shared_parse(Path(os.environ["PARSED"])):
        yield


@pytest.fixture(autouse=True)
def _log_levels() -> Iterator[None]:
    """Restore the levels of the log, which a command in this process may have changed."""
    loggers = [logging.getLogger(name) for name in ("orchestrate", "orchestrator")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def start_sshd(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Return a function that starts an OpenSSH server; all end with the test."""
    servers: list[Sshd] = []

    def start(**options: Any) -> Sshd:  # noqa: ANN401 - as in Sshd
        folder = tmp_path / f"sshd{len(servers)}"
        server = Sshd(folder, **options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def sftp_server(start_sshd: Callable[..., Sshd]) -> Sshd:
    """An OpenSSH server with its files in `root`; `destination()` delivers there."""
    return start_sshd()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server."""
    server = Postgres()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def spark_cluster() -> Iterator[SparkCluster]:
    """A Spark cluster of a master and two workers."""
    cluster = SparkCluster()
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser that opens pages from disk."""
    started = Browser()
    yield started
    started.close()


@pytest.fixture(scope="session")
def gpg() -> Iterator[Gpg]:
    """GnuPG with a separate keyring."""
    keyring = Gpg()
    yield keyring
    keyring.stop()


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty warehouse and a folder to run exports in."""
    return Workspace(tmp_path, monkeypatch)


@pytest.fixture
def acme(workspace: Workspace) -> Workspace:
    """One brand with one mailing on 19 November, and its daily export."""
    workspace.mailing("ACME", "2026-11-19")
    workspace.configure("  - {brand: ACME}")
    return workspace


@pytest.fixture(params=["duckdb", "postgres"])
def every_warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Warehouse:
    """An empty warehouse of each engine, and a folder of raw files to load into it."""
    if request.param == "duckdb":
        return Warehouse(tmp_path)
    postgres: Postgres = request.getfixturevalue("postgres")
    return PostgresWarehouse(tmp_path, postgres.warehouse())


@pytest.fixture(params=["duckdb", "postgres", "spark"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The target of each engine, with an empty warehouse; every run of the test uses it."""
    name: str = request.param
    monkeypatch.setenv("ORCHESTRATE_TARGET", name)
    if name == "duckdb":
        monkeypatch.setenv("DUCKDB_PATH", str(tmp_path / "warehouse.duckdb"))
    if name == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        for variable, value in server.warehouse().items():
            monkeypatch.setenv(variable, value)
    if name == "spark":
        cluster: SparkCluster = request.getfixturevalue("spark_cluster")
        monkeypatch.setenv("SPARK_WAREHOUSE_DIR", str(tmp_path / "spark"))
        for variable, value in cluster.environment.items():
            monkeypatch.setenv(variable, value)
    return name
