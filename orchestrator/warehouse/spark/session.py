"""A Spark session: started quietly, on a cluster that answers, and given up where none works."""

import contextlib
import importlib.util
import logging
import socket
import tempfile
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from orchestrator import system
from orchestrator.config import yaml_source
from orchestrator.errors import ExportError, UsageError

if TYPE_CHECKING:
    from py4j.java_gateway import JavaGateway  # type: ignore[import-untyped]
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.warehouse.redaction import redacted

_log = logging.getLogger(__name__)

_WAREHOUSE = "spark.sql.warehouse.dir"
# What the files' bytes hang on, whatever the profile says. Spark's own default writes moments as
# INT96, which has no zone, and refuses or shifts those before 1900.
_FIXED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
}
_DEFAULTS = {
    "spark.app.name": "event-based-export",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "WARN",
}
_ANSWER = 5.0  # seconds in which a master must accept a connection
_LOOK = 2.0  # seconds between two looks for workers
_PATIENCE = 120.0  # seconds; dbt's `connect_timeout` of the target says otherwise


def warehouse_folder(output: Mapping[str, Any]) -> Path:
    """Return the folder that dbt's target shares with its workers.

    Raises UsageError where it is no folder, as Session does.
    """
    given = _settings(output).get(_WAREHOUSE, "spark-warehouse")
    path = given.removeprefix("file://")
    if "://" in path or path.startswith("file:"):
        raise UsageError(
            f"SPARK_WAREHOUSE_DIR is {given}: give the path of a folder that this host and every"
            " worker share; the raw tables may be elsewhere"
        )
    return Path(path).expanduser().absolute()


class Session:
    """A running Spark session, and the folder that it shares with its workers."""

    def __init__(self, output: Mapping[str, Any]) -> None:
        """Start it with dbt's target, so that dbt finds and uses it.

        Raises UsageError where Spark or Java is not installed or the target is no session's,
        ExportError where the cluster does not answer or no worker of it comes.
        """
        _check(output)
        settings = _settings(output)
        self.warehouse = warehouse_folder(output)
        settings[_WAREHOUSE] = f"file://{self.warehouse}"
        master = settings.setdefault("spark.master", "local[*]")
        _check_answers(master)
        self.context = _context({**_DEFAULTS, **settings, **_FIXED}, master)
        self.spark: SparkSession = _session()
        self._ended = threading.Event()
        self._patience = float(output.get("connect_timeout") or _PATIENCE)
        if not master.startswith("local"):
            threading.Thread(target=self._watch, args=(master,), daemon=True).start()
            try:
                with explained():
                    self.spark.range(1).count()  # dynamic allocation brings workers for a job alone
            except ExportError as error:
                self.close()
                raise ExportError(f"no worker of {master} takes up work: {error}") from error

    @property
    def has_metastore(self) -> bool:
        """Tell whether the catalog outlives the session."""
        return self.spark.conf.get("spark.sql.catalogImplementation") != "in-memory"

    def close(self) -> None:
        """End the session; the workers are free for others."""
        self._ended.set()
        self.spark.stop()

    def _watch(self, master: str) -> None:
        """Give up all work that no worker takes up: Spark itself would wait for ever."""
        without = 0.0
        while not self._ended.wait(_LOOK):
            with contextlib.suppress(Exception):  # the session ends while it is looked at
                waits = self.context.statusTracker().getActiveJobsIds()
                known = self.context._jsc.sc().getExecutorMemoryStatus().size()  # noqa: SLF001 - Python has no such method
                without = without + _LOOK if waits and known <= 1 else 0.0  # one is the driver
                if without >= self._patience:
                    _log.error("%s has had no worker for %d seconds: given up", master, without)
                    self.context.cancelAllJobs()


def _check(output: Mapping[str, Any]) -> None:
    if output.get("method") != "session":
        raise UsageError(
            f"the target has method {output.get('method')}: Spark runs with method session,"
            " and spark.master in server_side_parameters names the cluster"
        )
    if not all(importlib.util.find_spec(name) for name in ("pyspark", "dbt.adapters.spark")):
        raise UsageError(
            "Spark is not installed: pip install 'event-based-export[spark]', and Java 17 or later"
        )
    # Of a pandas that nothing here uses.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)


def _settings(output: Mapping[str, Any]) -> dict[str, str]:
    given = output.get("server_side_parameters") or {}
    return {name: yaml_source.render(str(value)) for name, value in given.items()}


def _check_answers(master: str) -> None:
    """Raise ExportError unless a master of a standalone cluster accepts a connection."""
    if not master.startswith("spark://"):
        return
    reasons = []
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER).close()
        except ValueError as error:
            raise UsageError(f"SPARK_MASTER is {master}: expected spark://HOST:PORT") from error
        except OSError as error:
            reasons.append(f"{address}: {error.strerror or 'no answer'}")
        else:
            return
    raise ExportError(f"the Spark cluster does not answer: {'; '.join(reasons)}")


def _context(settings: Mapping[str, str], master: str) -> "SparkContext":
    from pyspark import SparkConf, SparkContext  # noqa: PLC0415 - an extra

    conf = SparkConf().setAll(list(settings.items()))
    gateway = SparkContext._gateway or _java(conf)  # noqa: SLF001 - one Java serves a process
    try:
        return SparkContext(conf=conf, gateway=gateway)
    except raised() as error:
        raise ExportError(f"Spark does not start on {master}: {words(error)}") from error


def _java(conf: "SparkConf") -> "JavaGateway":
    """Start Java. What it and Spark say is for -v alone; a failure quotes the first line."""
    from pyspark.errors import PySparkRuntimeError  # noqa: PLC0415 - an extra
    from pyspark.java_gateway import launch_gateway  # noqa: PLC0415 - an extra

    is_told = logging.getLogger("orchestrator").isEnabledFor(logging.DEBUG)
    if not is_told:  # at Ctrl-C it shows where it was
        logging.getLogger("py4j").setLevel(logging.CRITICAL + 1)
    with tempfile.TemporaryFile() as kept:
        log: int | IO[bytes] = 2 if is_told else kept
        try:
            streams = {"stdout": log, "stderr": log}
            with system.deferred_signals():  # a Java that is left while it starts stays for ever
                gateway = launch_gateway(conf, streams)  # type: ignore[no-untyped-call]
        except PySparkRuntimeError as error:
            kept.seek(0)
            said = [line for line in kept.read().decode(errors="replace").splitlines() if line]
            first = f" ({said[0].strip()})" if said else ""
            raise UsageError(
                "Java does not start; Spark needs Java 17 or later, found by JAVA_HOME or PATH"
                + first
            ) from error
    return gateway


def _session() -> "SparkSession":
    from pyspark.sql import SparkSession  # noqa: PLC0415 - an extra

    return SparkSession.builder.getOrCreate()


@contextmanager
def explained() -> Iterator[None]:
    """Turn Spark's errors into ExportError, without the addresses that its words may quote."""
    try:
        yield
    except raised() as error:
        raise ExportError(f"Spark failed: {words(error)}") from error


def raised() -> tuple[type[Exception], ...]:
    """Return what Spark raises: of its own, and of the bridge to Java."""
    from py4j.protocol import Py4JError  # type: ignore[import-untyped] # noqa: PLC0415 - an extra
    from pyspark.errors import PySparkException  # noqa: PLC0415 - an extra

    return PySparkException, Py4JError


def words(error: Exception) -> str:
    """Return the first line of what went wrong, which in Java's words follows the class."""
    java = getattr(error, "java_exception", None)
    text = str(java.toString()) if java is not None else str(error)
    return redacted(text.strip().split("\n")[0])
