"""Spark's errors, in words that hold no value."""

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import ExportError, in_own_words


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
    return in_own_words(text.strip().split("\n")[0])
