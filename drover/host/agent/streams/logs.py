"""Logs of a container: one message a line, prefixed with its stream (`01 ` stdout, `02 ` stderr, `00 ` TTY)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime

from drover.host.agent.engine import Engine
from drover.host.agent.errors import AgentError
from drover.host.agent.streams.claims import StreamClaims
from drover.host.agent.streams.multiplex import Stream

HEADER = 8
MAX_LINE = 1024 * 1024
"""Longer lines are sent in pieces: a program that never ends its line must not eat the agent's memory."""

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:h|ms|m|s))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")


class LineSplitter:
    """Turns the engine's byte stream into prefixed lines.

    Without a TTY the engine sends frames: one byte stream number, three zeros, four bytes length, payload. A
    line may span frames, and the two streams interleave, so each has its own unfinished line.
    """

    def __init__(self, *, tty: bool) -> None:
        self._tty = tty
        self._raw = bytearray()
        self._lines: dict[int, bytearray] = {}

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The lines that this chunk completes."""
        if self._tty:
            yield from self._split(0, chunk)
            return
        self._raw += chunk
        while len(self._raw) >= HEADER:
            end = HEADER + int.from_bytes(self._raw[4:HEADER], "big")
            if len(self._raw) < end:
                return
            stream, payload = self._raw[0], bytes(self._raw[HEADER:end])
            del self._raw[:end]
            yield from self._split(stream, payload)

    def rest(self) -> Iterator[str]:
        """Unfinished lines, when the log has ended."""
        for stream, line in self._lines.items():
            if line:
                yield _prefixed(stream, bytes(line))

    def _split(self, stream: int, payload: bytes) -> Iterator[str]:
        buffer = self._lines.setdefault(stream, bytearray())
        buffer += payload
        *complete, rest = bytes(buffer).split(b"\n")
        for line in complete:
            yield _prefixed(stream, line + b"\n")
        if len(rest) > MAX_LINE:
            yield _prefixed(stream, rest)
            rest = b""
        self._lines[stream] = bytearray(rest)


async def serve_logs(stream: Stream, engine: Engine, claims: StreamClaims, container: str) -> None:
    wanted = claims.logs
    config = (await engine.inspect_container(container)).get("Config") or {}
    params = {
        "stdout": "1",
        "stderr": "1",
        "follow": "1" if wanted.follow else "0",
        "timestamps": "1" if wanted.timestamps else "0",
        "tail": str(max(0, wanted.lines)),
    }
    if wanted.since:
        params["since"] = since_timestamp(wanted.since, now=time.time())
    splitter = LineSplitter(tty=bool(config.get("Tty")))
    async with engine.logs(container, params) as content:
        async for chunk in content.iter_any():
            for line in splitter.feed(chunk):
                await stream.send(line)
    for line in splitter.rest():
        await stream.send(line)


def since_timestamp(text: str, *, now: float) -> str:
    """Docker's API takes seconds only; people write `10m` or a date. Raises AgentError for other text."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return text
    if _DURATION.fullmatch(text):
        ago = sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))
        return f"{now - ago:.3f}"
    try:
        return f"{datetime.fromisoformat(text).timestamp():.3f}"
    except ValueError:
        raise AgentError(f"since={text!r} is neither a time stamp nor a duration such as 10m") from None


def _prefixed(stream: int, line: bytes) -> str:
    return f"{min(stream, 9):02d} {line.decode('utf-8', 'replace')}"
