"""A TCP proxy in front of a server: it counts bytes, adds delay, and cuts connections."""

import math
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

_CHUNK = 65536
_STEP = 4096


class Proxy:
    """Listens on `port`; connection number n is cut after `cuts[n]` bytes from the client.

    `delay` is in seconds, in each direction. `rate` is in bytes per second, from the client. After
    `gate` bytes from all clients, nothing passes until `opened` is set. `sent` has the number of
    bytes from the client, by connection.
    """

    def __init__(
        self,
        target: int,
        *,
        cuts: tuple[int, ...] = (),
        delay: float = 0,
        rate: float = math.inf,
        gate: float = math.inf,
    ) -> None:
        self.sent: list[int] = []
        self.opened = threading.Event()
        self._target = target
        self._cuts = cuts
        self._delay = delay
        self._rate = rate
        self._gate = gate
        self._passed = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]

    @classmethod
    @contextmanager
    def before(cls, target: int, **faults: Any) -> Iterator[Self]:  # noqa: ANN401 - as in __init__
        """Run a proxy in front of the loopback port `target`."""
        proxy = cls(target, **faults)
        threading.Thread(target=proxy._accept, daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.opened.set()
            proxy._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                number = len(self.sent)
                self.sent.append(0)
                server = socket.create_connection(("127.0.0.1", self._target))
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pump(client, server, number)
                self._pump(server, client, None)

    def _pump(self, source: socket.socket, sink: socket.socket, number: int | None) -> None:
        """Pass bytes on in two threads, so that a delay does not reduce the throughput."""
        line: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def read() -> None:
            data = b"-"
            while data:
                try:
                    data = source.recv(_CHUNK)
                except OSError:
                    data = b""
                if number is not None:
                    self.sent[number] += len(data)
                    if number < len(self._cuts) and self.sent[number] > self._cuts[number]:
                        data = b""
                line.put((time.monotonic() + self._delay, data))

        def write() -> None:
            data = b"-"
            while data:
                due, data = line.get()
                time.sleep(max(0, due - time.monotonic()))
                with suppress(OSError):
                    if number is None or self._rate == self._gate == math.inf:
                        sink.sendall(data)
                    else:
                        self._trickle(sink, data)
            for end in (source, sink):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

        threading.Thread(target=read, daemon=True).start()
        threading.Thread(target=write, daemon=True).start()

    def _trickle(self, sink: socket.socket, data: bytes) -> None:
        for begin in range(0, len(data), _STEP):
            step = data[begin : begin + _STEP]
            self._passed += len(step)
            if self._passed > self._gate:
                self.opened.wait()
            sink.sendall(step)
            time.sleep(len(step) / self._rate)
