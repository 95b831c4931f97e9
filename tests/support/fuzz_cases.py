"""The number of cases of a fuzz test, and what must be true of every case."""

from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, settings

from orchestrator.errors import ExportError

FEW = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
"""For each run of the tests."""
MANY = settings(
    max_examples=1000,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""For `make faults`."""
EXIT_CODES = (1, 2, 3, 4, 75)


@contextmanager
def only_clear_errors() -> Iterator[list[ExportError]]:
    """Expect no error, or one of the product's own; yield a list to which that error is added."""
    found: list[ExportError] = []
    try:
        yield found
    except ExportError as error:
        found.append(error)
    for each in found:
        assert each.exit_code in EXIT_CODES
        assert len(str(each)) > 10
        assert not any(word in str(each) for word in ("Traceback", "object at 0x", "<class"))
