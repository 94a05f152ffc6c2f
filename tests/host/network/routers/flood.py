"""Numbered datagrams from one container to another, and which of them did not arrive."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from .underlay import Node, inside

_SO_RCVBUFFORCE = 33
_PORT = 7000
_BUFFER = 1 << 24
_LINGER_SECONDS = 2.0


@dataclass
class Flood:
    """What was sent one way; times are of `time.monotonic()`."""

    source: Node
    target: Node
    sent: list[float] = field(default_factory=list)
    received: list[tuple[int, float]] = field(default_factory=list)

    @property
    def lost(self) -> list[int]:
        return sorted(set(range(len(self.sent))) - {number for number, _ in self.received})

    @property
    def reordered(self) -> int:
        return sum(1 for (one, _), (other, _) in pairwise(self.received) if other < one)

    @property
    def longest_silence(self) -> float:
        return max((later - earlier for (_, earlier), (_, later) in pairwise(self.received)), default=0.0)

    def __str__(self) -> str:
        lost = self.lost
        first = f" (from number {lost[0]})" if lost else ""
        counts = f"{len(self.sent)} sent, {len(lost)} lost{first}, {self.reordered} out of order"
        silence = f"longest silence {self.longest_silence * 1000:.0f} ms"
        return f"{self.source.container_ip} -> {self.target.container_ip}: {counts}, {silence}"


@asynccontextmanager
async def flood(*ways: tuple[Node, Node], rate: float) -> AsyncIterator[list[Flood]]:
    """Send `rate` datagrams a second each way while the context lasts; the counts are complete afterwards."""
    stop = threading.Event()
    floods = [Flood(source, target) for source, target in ways]
    try:
        async with asyncio.TaskGroup() as tasks:
            for each in floods:
                tasks.create_task(asyncio.to_thread(_send_and_receive, each, rate, stop))
            try:
                yield floods
            finally:
                stop.set()
    finally:
        for each in floods:
            print(each)


def _send_and_receive(each: Flood, rate: float, stop: threading.Event) -> None:
    address = (each.target.container_ip, _PORT)
    with (
        inside(each.target.container, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as target,
        inside(each.source.container, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as source,
    ):
        target.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        target.bind(address)
        target.settimeout(0.2)
        ended = threading.Event()
        receiver = threading.Thread(target=_receive, args=(each, target, ended))
        receiver.start()
        began = time.monotonic()
        while not stop.is_set():
            due = began + len(each.sent) / rate
            time.sleep(max(0.0, due - time.monotonic()))
            number = len(each.sent)
            each.sent.append(time.monotonic())
            source.sendto(struct.pack("!I", number) + bytes(200), address)
        time.sleep(_LINGER_SECONDS)
        ended.set()
        receiver.join()


def _receive(each: Flood, target: socket.socket, ended: threading.Event) -> None:
    while not ended.is_set():
        try:
            data = target.recv(2048)
        except TimeoutError:
            continue
        each.received.append((struct.unpack_from("!I", data)[0], time.monotonic()))
