"""The client with a steady rhythm: how many it asks, that waiting counts, what it takes for no answer."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.http_load import Slow, measure, request_of

BODY = b"x" * 300_000
REQUEST = request_of("/latest/self", "*/*", "10.42.0.1")


@contextmanager
def serving(status: bytes = b"200 OK", hold: float = 0.0) -> Iterator[int]:
    """A server whose answers take `hold` seconds, one after the other."""
    turn = threading.Lock()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # the client leaves in the middle
                self.serve()

        def serve(self) -> None:
            data = b""
            while more := self.request.recv(65536):
                data += more
                while data.startswith(REQUEST):
                    data = data[len(REQUEST) :]
                    with turn:
                        time.sleep(hold)
                    head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(BODY))
                    self.request.sendall(head + BODY)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def test_each_question_gets_its_whole_answer() -> None:
    with serving() as port:
        found = measure(port, REQUEST, seconds=1.0, rate=50.0, connections=2)
    assert found["answers"] == 50
    assert 0 < found["p50"] <= found["p99"] <= found["most"]


def test_a_question_that_has_to_wait_counts_from_when_it_was_due() -> None:
    with serving(hold=0.01) as port:
        found = measure(port, REQUEST, seconds=0.2, rate=1000.0, connections=1)
    assert found["answers"] < 200, "it gives up when it is late by as much as it should take"
    assert found["most"] > 100, "ten times what an answer takes"


def test_anything_but_success_is_no_answer() -> None:
    with serving(status=b"404 Not Found") as port, pytest.raises(Slow, match="404"):
        measure(port, REQUEST, seconds=0.1, rate=10.0, connections=1)
