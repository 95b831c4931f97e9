"""The number of cases of a fuzz test, and what must be true of every case."""

from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, settings

from orchestrator.errors import ExportError

FEW = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
"""In each run of the tests."""
MANY = settings(
    max_examples=1000,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""In `make faults`."""
EXIT_CODES = (1, 2, 3, 4, 75)


@contextmanager
def only_clear_errors() -> Iterator[list[ExportError]]:
    """Let only errors of the product end a case; yield a list with that error, if any."""
    found: list[ExportError] = []
    try:
        yield found
    except ExportError as error:
        found.append(error)
    for each in found:
        assert each.exit_code in EXIT_CODES
        assert len(str(each)) > 10
        assert not any(word in str(each) for word in ("Traceback", "object at 0x", "<class"))
