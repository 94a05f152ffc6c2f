"""A client that asks in a steady rhythm and notes how long each answer takes, from the moment that it was due.

A client that waits for its answer before it asks again measures how long the queue is that it makes itself. Here the
load is a given; a question that is held up by the one before it has waited too, and that counts.

Started as a program of its own: `python -m bench.http_load PORT PATH ACCEPT CLIENT SECONDS RATE CONNECTIONS` prints
the percentiles in milliseconds as JSON. It needs a core for itself: between questions it does not sleep.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import time

from bench.result import percentile

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNK = 1 << 20
_PATIENCE = 10.0


class Slow(Exception):
    """The answers do not come, or not whole."""


def measure(port: int, request: bytes, *, seconds: float, rate: float, connections: int) -> dict[str, float]:
    """Latencies in milliseconds at ``rate`` questions a second. The answer must be as long every time."""
    sockets = [socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) for _ in range(connections)]
    try:
        length = max(_ask(each, request) for each in sockets)
        for each in sockets:
            each.setblocking(False)
        took = _in_rhythm(sockets, request, length, seconds=seconds, rate=rate)
    finally:
        for each in sockets:
            each.close()
    if not took:
        raise Slow(f"no answer within {2 * seconds:g} s")
    return {"answers": len(took), "p50": percentile(took, 0.5), "p99": percentile(took, 0.99), "most": max(took)}


def _in_rhythm(
    sockets: list[socket.socket], request: bytes, length: int, *, seconds: float, rate: float
) -> list[float]:
    took: list[float] = []
    room = bytearray(_CHUNK)
    idle = {each.fileno(): each for each in sockets}
    asked: dict[int, tuple[socket.socket, float]] = {}
    missing: dict[int, int] = {}
    poller = select.epoll()
    for each in sockets:
        poller.register(each, select.EPOLLIN)
    began = heard = time.perf_counter()
    number, total = 0, int(seconds * rate)
    while number < total or asked:
        now = time.perf_counter()
        if now - began > 2 * seconds:
            total = number  # hopelessly late, which what was answered shows
        while idle and number < total and (due := began + number / rate) <= now:
            file, sock = idle.popitem()
            sock.send(request)
            asked[file], missing[file] = (sock, due), length
            number += 1
        for file, _ in poller.poll(0):
            sock, due = asked[file]
            heard = time.perf_counter()
            missing[file] -= sock.recv_into(room)
            if missing[file] <= 0:
                took.append((time.perf_counter() - due) * 1e3)
                idle[file] = asked.pop(file)[0]
        if now - heard > _PATIENCE:
            raise Slow(f"nothing came for {_PATIENCE:g} s; {len(took)} of {total} questions were answered")
    return took


def _ask(sock: socket.socket, request: bytes) -> int:
    """Bytes of one whole answer."""
    sock.sendall(request)
    data = b""
    while (end := data.find(b"\r\n\r\n") + 4) < 4:
        data += _received(sock)
    found = _LENGTH.search(data[:end])
    if found is None or not data.startswith(b"HTTP/1.1 200 "):
        raise Slow(f"the answer begins {data[:80]!r}")
    length = end + int(found[1])
    rest = length - len(data)
    while rest > 0:
        rest -= len(_received(sock))
    return length


def _received(sock: socket.socket) -> bytes:
    data = sock.recv(_CHUNK)
    if not data:
        raise Slow("the server closed the connection")
    return data


def request_of(path: str, accept: str, client: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: metadata\r\nAccept: {accept}\r\nX-Forwarded-For: {client}\r\n\r\n".encode()


if __name__ == "__main__":
    port, path, accept, client, seconds, rate, connections = sys.argv[1:]
    found = measure(
        int(port),
        request_of(path, accept, client),
        seconds=float(seconds),
        rate=float(rate),
        connections=int(connections),
    )
    print(json.dumps(found))
