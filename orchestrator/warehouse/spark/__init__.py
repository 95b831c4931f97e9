"""Start a Spark session without output, and give up if the cluster does not respond."""

import contextlib
import importlib.util
import logging
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from orchestrator import system
from orchestrator.errors import ExportError, UsageError
from orchestrator.warehouse.project import rendered
from orchestrator.warehouse.sql import redacted

if TYPE_CHECKING:
    from py4j.java_gateway import JavaGateway  # type: ignore[import-untyped]
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

_log = logging.getLogger(__name__)

_WAREHOUSE = "spark.sql.warehouse.dir"
# The bytes of the files depend on these settings, so they override the profile. By default Spark
# writes timestamps as INT96, which has no time zone, and refuses or shifts those before 1900.
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
_CONNECT_TIMEOUT = 5.0  # seconds for the connection to a master
_POLL = 2.0  # seconds between two counts of the workers
_WORKER_TIMEOUT = 120.0  # seconds; the target's `connect_timeout` overrides it


class Session:
    """A running Spark session.

    Attributes:
        spark: the session of pyspark.
        context: its SparkContext.
        warehouse: the folder that this host shares with the workers.

    """

    def __init__(self, output: Mapping[str, Any]) -> None:
        """Start the session for dbt's target. dbt then uses the session that is running.

        Raises UsageError if Spark or Java is not installed or the target is not supported,
        ExportError if the cluster does not respond or has no worker.
        """
        _check(output)
        given = rendered({"settings": output.get("server_side_parameters") or {}})["settings"]
        settings = {name: str(value) for name, value in given.items()}
        self.warehouse = _shared_folder(settings.get(_WAREHOUSE, "spark-warehouse"))
        settings[_WAREHOUSE] = f"file://{self.warehouse}"
        master = settings.setdefault("spark.master", "local[*]")
        _check_answers(master)
        self.context = _context({**_DEFAULTS, **settings, **_FIXED}, master)
        self.spark: SparkSession = _session()
        self._ended = threading.Event()
        self._worker_timeout = float(output.get("connect_timeout") or _WORKER_TIMEOUT)
        if not master.startswith("local"):
            threading.Thread(target=self._watch, args=(master,), daemon=True).start()
            try:
                with translated_errors():
                    self.spark.range(
                        1
                    ).count()  # a job, because dynamic allocation starts workers only for one
            except ExportError as error:
                self.close()
                raise ExportError(f"no worker of {master} runs a job: {error}") from error

    @property
    def has_catalog(self) -> bool:
        """Whether there is a catalog that survives the session, such as a metastore."""
        names = [name for name, _ in self.context.getConf().getAll()]
        return self.spark.conf.get("spark.sql.catalogImplementation") != "in-memory" or any(
            name.startswith("spark.sql.catalog.") for name in names
        )

    def close(self) -> None:
        """End the session, which frees the workers."""
        self._ended.set()
        self.spark.stop()

    def _watch(self, master: str) -> None:
        """Cancel all jobs if no worker appears for a while: Spark itself would wait for ever."""
        seconds = 0.0  # for how long there has been work and no worker
        while not self._ended.wait(_POLL):
            with contextlib.suppress(Exception):  # the session may end meanwhile
                active = self.context.statusTracker().getActiveJobsIds()
                known = self.context._jsc.sc().getExecutorMemoryStatus().size()  # noqa: SLF001 - Python has no such method
                has_worker = known > 1  # the driver counts as one
                seconds = seconds + _POLL if active and not has_worker else 0.0
                if seconds >= self._worker_timeout:
                    _log.error(
                        "%s has had no worker for %d seconds: all jobs are cancelled",
                        master,
                        seconds,
                    )
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
    # The warning is about pandas, which nothing here uses.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)


def _shared_folder(given: str) -> Path:
    """Return the folder that this host shares with the workers. Raises UsageError for a URL."""
    path = given.removeprefix("file://")
    if "://" in path or path.startswith("file:"):
        raise UsageError(
            f"SPARK_WAREHOUSE_DIR is {given}: give the path of a folder that this host and every"
            " worker share; the raw tables may be elsewhere"
        )
    return Path(path).expanduser().absolute()


def _check_answers(master: str) -> None:
    """Raise ExportError if no master of a standalone cluster accepts a connection."""
    if not master.startswith("spark://"):
        return
    reasons = []
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection(
                (host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT
            ).close()
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
    gateway = SparkContext._gateway or _java(conf)  # noqa: SLF001 - a process has one Java
    try:
        return SparkContext(conf=conf, gateway=gateway)
    except _errors() as error:
        raise ExportError(f"Spark does not start on {master}: {_first_line(error)}") from error


def _java(conf: "SparkConf") -> "JavaGateway":
    """Start Java. Its output is shown only with -v; an error contains the first line of it."""
    from pyspark.errors import PySparkRuntimeError  # noqa: PLC0415 - an extra
    from pyspark.java_gateway import launch_gateway  # noqa: PLC0415 - an extra

    is_verbose = logging.getLogger("orchestrator").isEnabledFor(logging.DEBUG)
    if not is_verbose:  # at Ctrl-C py4j would log a traceback
        logging.getLogger("py4j").setLevel(logging.CRITICAL + 1)
    with tempfile.TemporaryFile() as output:
        log: int | IO[bytes] = 2 if is_verbose else output
        try:
            streams = {"stdout": log, "stderr": log}
            with system.deferred_signals():  # interrupted here, Java would run for ever
                gateway = launch_gateway(conf, streams)  # type: ignore[no-untyped-call]
        except PySparkRuntimeError as error:
            output.seek(0)
            lines = [line for line in output.read().decode(errors="replace").splitlines() if line]
            first = f" ({lines[0].strip()})" if lines else ""
            raise UsageError(
                "Java does not start; Spark needs Java 17 or later, found by JAVA_HOME or PATH"
                + first
            ) from error
    return gateway


def _session() -> "SparkSession":
    from pyspark.sql import SparkSession  # noqa: PLC0415 - an extra

    return SparkSession.builder.getOrCreate()


@contextmanager
def translated_errors() -> Iterator[None]:
    """Translate Spark's errors to ExportError, without the values that their texts may quote."""
    try:
        yield
    except _errors() as error:
        raise ExportError(f"Spark failed: {_first_line(error)}") from error


def _errors() -> tuple[type[Exception], ...]:
    """Return the base classes of Spark's errors and of the bridge to Java."""
    from py4j.protocol import Py4JError  # type: ignore[import-untyped] # noqa: PLC0415 - an extra
    from pyspark.errors import PySparkException  # noqa: PLC0415 - an extra

    return PySparkException, Py4JError


def _first_line(error: Exception) -> str:
    """Return the first line of an error; for an error of Java this includes its class."""
    java = getattr(error, "java_exception", None)
    text = str(java.toString()) if java is not None else str(error)
    return redacted(text.strip().split("\n")[0])
