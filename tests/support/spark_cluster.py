"""A real Spark cluster: a master and two workers, each a separate process."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.resources import files
from pathlib import Path

_WORKERS = 2
_PATIENCE = 120  # seconds
# These runs are short: little memory, only the faster of Java's two compilers, and no verification
# of Spark's own classes.
_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData"
_JAVA += " -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
_JAVA += " -Dderby.stream.error.file=/dev/null"  # of the metastore that one test has
ENVIRONMENT = {
    "SPARK_LOCAL_IP": "127.0.0.1",
    "SPARK_EXECUTOR_MEMORY": "512m",
    "SPARK_DRIVER_MEMORY": "512m",
    "JAVA_TOOL_OPTIONS": _JAVA,
}
"""Settings that make Spark small and quick to start."""


class SparkCluster:
    """A standalone cluster on this host, with one core per worker."""

    def __init__(self, *, workers: int = _WORKERS) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="spark"))
        self._count = workers
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.url = ""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a run on this cluster, except the folder of the tables."""
        return {**ENVIRONMENT, "SPARK_MASTER": self.url}

    def start(self) -> None:
        self._start("master", "master.Master", "--port", "0")
        self.url = self._wait_for_log("master", r"Starting Spark master at (spark://\S+)")
        for number in range(self._count):
            self.add_worker(f"worker{number}")

    def add_worker(self, name: str) -> None:
        options = ("--port", "0", "--work-dir", str(self.folder / f"{name}.work"))
        self._start(name, "worker.Worker", *options, "--cores", "1", "--memory", "512m", self.url)
        self._wait_for_log(name, "Successfully registered with (master)")

    def kill(self, name: str) -> None:
        """Kill a worker, and with it its executors."""
        process = self._processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for name in list(self._processes):
            self.kill(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait_for_executors(self) -> None:
        """Wait until an application has an executor on every worker."""
        until = time.monotonic() + _PATIENCE
        while not all(self._executors(name) for name in self._processes if name != "master"):
            assert time.monotonic() < until, "no application started"
            time.sleep(0.05)

    def _executors(self, name: str) -> list[Path]:
        logs = (self.folder / f"{name}.work").glob("app-*/*/stderr")
        return [log for log in logs if b"Successfully registered with driver" in log.read_bytes()]

    def _start(self, name: str, role: str, *arguments: str) -> None:
        home = Path(str(files("pyspark")))
        command = [str(home / "bin/spark-class"), f"org.apache.spark.deploy.{role}"]
        command += ["--host", "127.0.0.1", "--webui-port", "0", *arguments]
        environment = {**os.environ, **ENVIRONMENT, "SPARK_DAEMON_MEMORY": "128m"}
        environment |= {"SPARK_HOME": str(home), "SPARK_LOCAL_DIRS": str(self.folder / "local")}
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its executors can be killed with it
            )

    def _wait_for_log(self, name: str, pattern: str) -> str:
        until = time.monotonic() + _PATIENCE
        while True:
            text = (self.folder / f"{name}.log").read_text(errors="replace")
            if found := re.search(pattern, text):
                return found[1]
            alive = self._processes[name].poll() is None
            assert alive and time.monotonic() < until, text  # noqa: PT018 - text explains both
            time.sleep(0.05)
