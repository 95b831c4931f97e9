"""The real command line, killed at a named point: `killed_command.py POINT WHEN N ARGUMENT...`.

The N-th call of the function that POINT names kills the whole process group with SIGKILL, `before`
it begins or `after` it has ended. The product has no hook for it: the function is wrapped from
outside. With `-` as POINT nothing is killed. Each point that a run reaches is written to the file
$TRACE, as a line. A new crash point is one line in POINTS, or in PACKED.
"""

import functools
import importlib
import inspect
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

POINTS = {
    "ledger.open": "orchestrator.ledger:Ledger.__init__",
    "ledger.plan": "orchestrator.ledger:Ledger.plan",
    "warehouse.open": "orchestrator.warehouse:Warehouse.open",
    "dbt.parse": "orchestrator.warehouse.dbt:Dbt.__init__",
    "dbt.build": "orchestrator.warehouse.dbt:Dbt.build",
    "stage.read": "orchestrator.warehouse.duckdb:DuckDB.read",
    "files.write": "orchestrator.files.writing:write",
    "completion.files": "orchestrator.files.completion:files",
    "outbox.publish": "orchestrator.files.outbox:Outbox.publish",
    "fsync": "os:fsync",
    "replace": "os:replace",
    "ledger.write": "orchestrator.ledger:Ledger.write",
    "folder.publish": "orchestrator.delivery.directory:DirectoryDestination.publish",
    "sftp.connect": "orchestrator.delivery.sftp.session:connect",
    "sftp.mkdir": "asyncssh:SFTPClient.mkdir",
    "sftp.open": "asyncssh:SFTPClient.open",
    "sftp.write": "asyncssh:SFTPClientFile.write",
    "sftp.fsync": "asyncssh:SFTPClientFile.fsync",
    "sftp.close": "asyncssh:SFTPClientFile.close",
    "folder.rename": "orchestrator.delivery.directory:_rename",
    "ledger.renaming": "orchestrator.ledger:Ledger.announce",
    "sftp.rename": "asyncssh:SFTPClient.posix_rename",
    "notes.close": "orchestrator.pipeline.shipping:DeliveryNotes.close",
    "ledger.finish": "orchestrator.ledger:Ledger.finish",
    "outbox.remove": "orchestrator.files.outbox:Outbox.remove",
}
PACKED = {
    "openpgp.encrypt": "orchestrator.files.packing:encrypt",
    "sftp.remove": "asyncssh:SFTPClient.remove",
    "folder.remove": "orchestrator.delivery.directory:DirectoryDestination.remove",
}
"""Points of a run that encrypts files and delivers completion files."""
_ONE_AT_A_TIME = threading.Lock()


def main() -> None:
    """Wrap the points, and run the command line in the group of this process."""
    point, when, number, *arguments = sys.argv[1:]
    trace = os.open(os.environ["TRACE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for name in POINTS | PACKED:
        wrap(name, trace, when if name == point else "", int(number))
    sys.argv = ["orchestrate", *arguments]
    importlib.import_module("orchestrator.cli").main()


def wrap(name: str, trace: int, when: str, number: int) -> None:
    """Replace a point's function by one that records its calls, and kills at the N-th."""
    module, _, path = (POINTS | PACKED)[name].partition(":")
    *outer, attribute = path.split(".")
    owner = functools.reduce(getattr, outer, importlib.import_module(module))
    original = inspect.getattr_static(owner, attribute)
    is_class_method = isinstance(original, classmethod)
    function: Callable[..., Any] = original.__func__ if is_class_method else original
    calls = itertools.count(1)

    def record(moment: str, call: int) -> None:
        with _ONE_AT_A_TIME:  # otherwise another thread could record points after the kill
            os.write(trace, f"{name} {moment}\n".encode())
            if moment == when and call == number:
                os.killpg(0, signal.SIGKILL)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the function takes
        call = next(calls)
        record("before", call)
        try:
            return function(*args, **kwargs)
        finally:
            record("after", call)

    @functools.wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the same
        call = next(calls)
        record("before", call)
        try:
            return await function(*args, **kwargs)
        finally:
            record("after", call)

    wrapped: Any = awaited if inspect.iscoroutinefunction(function) else called
    setattr(owner, attribute, classmethod(wrapped) if is_class_method else wrapped)


if __name__ == "__main__":
    main()
