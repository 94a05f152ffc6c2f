"""The checker and a real HAProxy, side by side: what is sent, what counts as good, and how results add up."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import pytest

from drover.host.health.checklist import Target
from drover.host.health.probe import judge, probe
from drover.host.health.state import CheckState
from tests.host.health.test_request_line import CASES as REQUESTS
from tests.host.health.test_state import CASES as SEQUENCES

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs HAProxy"),
]

INTERVAL_MS = 200
ANSWERS = [
    b"HTTP/1.0 200 OK\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n",
    b"HTTP/1.1 399 X\r\n\r\n",
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"",
]


@dataclass
class Fake:
    """A target that follows a script: one answer a connection, the last one for ever. Keeps what it was asked."""

    answers: list[bytes]
    asked: list[bytes] = field(default_factory=list)
    port: int = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Fake]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(b"")
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.asked[-1] = await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()


@dataclass(frozen=True)
class Haproxy:
    """A running HAProxy whose status can be asked for."""

    socket: Path

    async def statuses(self) -> dict[str, str]:
        """The status of each server, by the name of its backend."""
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        writer.write(b"show stat -1 4 -1\n")
        text = (await reader.read()).decode()
        writer.close()
        rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
        return {row[0]: row[17] for row in rows}


@contextlib.asynccontextmanager
async def haproxy(path: Path, backends: Iterable[str]) -> AsyncIterator[Haproxy]:
    control = path / "control.sock"
    config = path / "haproxy.cfg"
    sections = [
        f"global\n  nbthread 1\n  stats socket {control} mode 600 level admin",
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n  timeout check 500",
        *backends,
    ]
    config.write_text("\n".join(sections) + "\n")
    process = await asyncio.create_subprocess_exec(
        "haproxy", "-db", "-f", str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        await _until(control.exists)
        yield Haproxy(control)
    finally:
        process.terminate()
        await process.communicate()


def backend(name: str, fake: Fake, line: str, options: str = "") -> str:
    server = f"127.0.0.1:{fake.port} check port {fake.port} inter {INTERVAL_MS} {options}"
    return f"backend {name}\n  option httpchk {line}\n  server {name} {server}"


async def _until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not reached():
            await asyncio.sleep(0.01)


def _target(fake: Fake, line: str) -> Target:
    return Target("k", "c", "c", "127.0.0.1", fake.port, line, 1.0, 1.0, 0.5, None, None)


async def test_both_send_the_same(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(Fake([ANSWERS[0]]).serving()) for _ in REQUESTS]
        sections = [
            backend(f"b{number}", fake, line)
            for number, (fake, (line, _)) in enumerate(zip(fakes, REQUESTS, strict=True))
        ]
        async with haproxy(tmp_path, sections):
            await _until(lambda: all(fake.asked and fake.asked[0] for fake in fakes))
        theirs = [fake.asked[0] for fake in fakes]
        for fake, (line, _) in zip(fakes, REQUESTS, strict=True):
            fake.asked.clear()
            await probe(_target(fake, line))

        assert [_folded(fake.asked[0]) for fake in fakes] == [_folded(each) for each in theirs]


async def test_both_judge_alike(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(Fake([answer]).serving()) for answer in ANSWERS]
        sections = [backend(f"b{number}", fake, "GET /") for number, fake in enumerate(fakes)]
        async with haproxy(tmp_path, sections) as proxy:
            await _until(lambda: all(len(fake.asked) > 2 for fake in fakes))
            statuses = await proxy.statuses()
        theirs = [statuses[f"b{number}"] == "UP" for number in range(len(ANSWERS))]

        assert [judge(answer.partition(b"\r\n")[0]) is None for answer in ANSWERS] == theirs
        assert [await probe(_target(fake, "GET /")) is None for fake in fakes] == theirs


async def test_results_add_up_alike(tmp_path: Path) -> None:
    good, bad = ANSWERS[0], ANSWERS[6]
    async with contextlib.AsyncExitStack() as stack:
        fakes = [
            await stack.enter_async_context(Fake([good if each == "+" else bad for each in results]).serving())
            for _, _, results, _ in SEQUENCES
        ]
        sections = [
            backend(f"b{number}", fake, "GET /", f"rise {rise} fall {fall}")
            for number, (fake, (rise, fall, _, _)) in enumerate(zip(fakes, SEQUENCES, strict=True))
        ]
        seen: list[list[str]] = [[] for _ in fakes]
        async with haproxy(tmp_path, sections) as proxy:
            while not all(len(fake.asked) > len(fake.answers) + 4 for fake in fakes):
                for name, status in (await proxy.statuses()).items():
                    if name.startswith("b") and name[1:].isdigit():
                        seen[int(name[1:])].append(status)
                await asyncio.sleep(0.01)

    for (rise, fall, results, _), theirs in zip(SEQUENCES, seen, strict=True):
        state = CheckState(rise, fall)
        ours = [state.status]
        for result in [*results, *(results[-1] * 5)]:
            state.take(result == "+")
            ours.append(state.status)
        assert _turns(theirs, results, fall) == _turns(ours, results, fall), results


def _turns(statuses: list[str], results: str, fall: int) -> list[str]:
    """The different statuses in order, without the one before the first result, which may be too short to be seen.

    HAProxy shows that one as plain UP where one failure suffices. A full or used up count (`DOWN 2/2`, `UP 0/3`) is
    what its statistics read in the moment before it changes the state.
    """
    turns = [status for status, _ in groupby(filter(_is_settled, statuses))]
    before = {f"UP 1/{fall}"} | ({"UP"} if fall == 1 and results.startswith("-") else set())
    return turns[1:] if turns[0] in before else turns


def _is_settled(status: str) -> bool:
    count, slash, of = status.rpartition(" ")[2].partition("/")
    return not slash or 0 < int(count) < int(of)


def _folded(request: bytes) -> list[bytes]:
    """A request with header names in one case."""
    first, *headers = request.split(b"\r\n")
    return [first, *(b":".join([name.lower(), value]) for name, _, value in (each.partition(b":") for each in headers))]
