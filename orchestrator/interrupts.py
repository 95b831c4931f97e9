"""Interrupts: SIGTERM, which systemd, Kubernetes and timeout(1) send, does what Ctrl-C does."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

received: list[int] = []
"""Signals that came, other than those of Ctrl-C outside of `insisted`."""


def heed() -> None:
    """Let SIGTERM do what Ctrl-C does; a signal that the parent process ignores stays ignored."""
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, _terminate),
    ):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    """Do what is to be done at Ctrl-C now: asyncio and pyspark have ways of their own."""
    received.append(number)
    usual = signal.getsignal(signal.SIGINT)
    (usual if callable(usual) else signal.default_int_handler)(number, frame)


@contextmanager
def held() -> Iterator[None]:
    """Let signals come at the end: what is begun in between could not be ended before."""
    came: list[int] = []
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in usual:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


@contextmanager
def insisted() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end, too, where what runs in between keeps it to itself."""
    usual = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if callable(usual):
            usual(number, frame)

    noting = callable(usual) and threading.current_thread() is threading.main_thread()
    if noting:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if noting:
            signal.signal(signal.SIGINT, usual)
    if received:
        raise KeyboardInterrupt
