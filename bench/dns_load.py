"""A client that always has so many questions under way and notes how long each answer takes.

Started as a program of its own: `python -m bench.dns_load PORT FILE SECONDS OUTSTANDING`; prints the latencies'
percentiles in microseconds as JSON. Its own time is part of what it measures.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from itertools import cycle
from pathlib import Path

from bench.result import percentile


def question_bytes(name: str) -> bytes:
    """A query for the addresses of a name, without its id."""
    labels = name.rstrip(".").split(".")
    wire = b"".join(bytes((len(each),)) + each.encode() for each in labels)
    return struct.pack("!5H", 0x0100, 1, 0, 0, 0) + wire + b"\x00\x00\x01\x00\x01"


def questions(path: Path) -> list[bytes]:
    """Those of a file with ``name A`` a line."""
    return [question_bytes(line.split()[0]) for line in path.read_text().splitlines()]


def measure(port: int, bodies: list[bytes], seconds: float, outstanding: int) -> dict[str, float]:
    """Latencies in microseconds. A question that got no answer within a second counts as lost."""
    took: list[float] = []
    sent: dict[bytes, float] = {}
    lost, number, following = 0, 0, cycle(bodies)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.setblocking(False)
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            while len(sent) < outstanding:
                number = (number + 1) & 0xFFFF
                key = number.to_bytes(2)
                sent[key] = time.perf_counter()
                sock.send(key + next(following))
            if not select.select([sock], [], [], 1.0)[0]:
                lost += len(sent)
                sent.clear()
                continue
            try:
                while True:
                    began = sent.pop(sock.recv(4096)[:2], None)
                    now = time.perf_counter()
                    if began is not None:
                        took.append((now - began) * 1e6)
            except BlockingIOError:
                continue
    return {"answers": len(took), "lost": lost, "p50": percentile(took, 0.5), "p99": percentile(took, 0.99)}


if __name__ == "__main__":
    port, path, seconds, outstanding = sys.argv[1:]
    print(json.dumps(measure(int(port), questions(Path(path)), float(seconds), int(outstanding))))
