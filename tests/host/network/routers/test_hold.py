"""Packets with an unknown index wait in the kernel's queue, all others pass."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import Callable, Coroutine, Iterator

import pytest

from drover.host.network.routers import hold
from drover.host.network.routers.hold import held_back

from .underlay import inside, sh

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

PEER = "127.0.0.2"
KNOWN, UNKNOWN = 0x11223344, 0xA1A2A3A4
Run = Callable[[Coroutine[None, None, None]], None]


@pytest.fixture
def within() -> Iterator[Run]:
    """Runs a coroutine in a network namespace of its own."""
    name = f"drvt-{secrets.token_hex(3)}"
    sh("ip", "netns", "add", name)
    try:
        sh("ip", "-n", name, "link", "set", "lo", "up")
        yield lambda work: inside(name, lambda: asyncio.run(work))
    finally:
        sh("ip", "netns", "del", name)


class Receiver:
    """What arrives at port 4500, by index and number."""

    def __enter__(self) -> Receiver:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 4500))
        self._socket.setblocking(False)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def arrived(self) -> list[tuple[int, int]]:
        found = []
        while True:
            try:
                found.append(struct.unpack("!II", self._socket.recv(2048)))
            except BlockingIOError:
                return found


def send(index: int, *numbers: int, source: str = PEER) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((source, 0))
        for number in numbers:
            sender.sendto(struct.pack("!II", index, number), ("127.0.0.1", 4500))


def test_only_what_is_unknown_waits_and_nothing_is_lost(within: Run) -> None:
    async def work() -> None:
        many = range(3000)
        with Receiver() as receiver:
            async with held_back(PEER, [KNOWN]):
                send(UNKNOWN, 1)
                send(KNOWN, 2)
                send(0, 3)
                send(UNKNOWN, 4, source="127.0.0.3")
                assert receiver.arrived() == [(KNOWN, 2), (0, 3), (UNKNOWN, 4)], "others pass"
            assert receiver.arrived() == [(UNKNOWN, 1)]
            async with held_back(PEER, [KNOWN]):
                send(UNKNOWN, *many[:100])
                await asyncio.sleep(0)
                send(UNKNOWN, *many[100:200])
            assert receiver.arrived() == [(UNKNOWN, number) for number in many[:200]], "in order"
            send(UNKNOWN, 5)
            assert receiver.arrived() == [(UNKNOWN, 5)]
        assert "NFQUEUE" not in sh("iptables-save", "-t", "mangle")

    within(work())


def test_nothing_waits_for_long(within: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "LONGEST_SECONDS", 0.05)

    async def work() -> None:
        with Receiver() as receiver:
            async with held_back(PEER, [KNOWN]):
                send(UNKNOWN, 1)
                assert receiver.arrived() == []
                async with asyncio.timeout(10):
                    while not (found := receiver.arrived()):
                        await asyncio.sleep(0.01)
                assert found == [(UNKNOWN, 1)]

    within(work())


def test_after_a_death_everything_passes(within: Run) -> None:
    """The rule stays behind; without a program at the queue it lets packets through."""

    async def work() -> None:
        rule = f"-s {PEER} -p udp --dport 4500 -j NFQUEUE --queue-num {hold.QUEUE} --queue-bypass"
        sh("iptables", "-t", "mangle", "-A", "INPUT", *rule.split())
        with Receiver() as receiver:
            send(UNKNOWN, 1)
            assert receiver.arrived() == [(UNKNOWN, 1)]

    within(work())
