"""HAProxy's Runtime API: commands over a UNIX socket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT = 10.0
_PROMPT = b"\n> "
_FINE = ("New server registered.", "Server deleted.", "IP changed", "port changed", "no need to change")


class RuntimeFailed(Exception):
    """A command that HAProxy refused, or a socket that does not answer."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A socket of a HAProxy: the stats socket of a worker, or the master's."""

    socket: Path

    async def ask(self, command: str) -> str:
        """The answer to one command; it may carry a payload."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                reader, writer = await asyncio.open_unix_connection(self.socket, limit=1 << 20)
                try:
                    writer.write(command.encode() + b"\n")
                    writer.write_eof()  # the master waits for further commands until then
                    answer = await reader.read(-1)
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise RuntimeFailed(f"{self.socket} does not answer: {error!r}") from error
        return answer.decode(errors="replace").strip()

    async def run(self, commands: Sequence[str]) -> None:
        """Commands that only say something when they fail, one after the other. Raises RuntimeFailed at the first."""
        if not commands:
            return
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_unix_connection(self.socket), _TIMEOUT)
            try:
                await self._exchange(reader, writer, "prompt")
                for command in commands:
                    answer = await self._exchange(reader, writer, command)
                    if answer and not answer.startswith(_FINE):
                        raise RuntimeFailed(f"{command}: {answer}")
            finally:
                writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise RuntimeFailed(f"{self.socket} does not answer: {error!r}") from error

    @staticmethod
    async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: str) -> str:
        writer.write(command.encode() + b"\n")
        await writer.drain()
        answer = await asyncio.wait_for(reader.readuntil(_PROMPT), _TIMEOUT)
        return answer.removesuffix(_PROMPT).decode(errors="replace").strip()


@dataclass(frozen=True, slots=True)
class Process:
    """A line of the master's ``show proc``."""

    pid: int
    kind: str
    is_current: bool


def parse_processes(text: str) -> list[Process]:
    """The master and its workers; those of former configurations are not current."""
    found, current = [], True
    for line in text.splitlines():
        if line.startswith("# old"):
            current = False
        fields = line.split()
        if len(fields) >= 2 and fields[0].isdigit():
            found.append(Process(int(fields[0]), fields[1], current))
    return found


def parse_table(text: str, *, separator: str | None = None) -> list[dict[str, str]]:
    """The rows of an answer whose first line beginning with ``# `` names the columns."""
    columns: list[str] = []
    rows = []
    for line in text.splitlines():
        if line.startswith("# "):
            columns = line[2:].split(separator)
        elif line and columns:
            rows.append(dict(zip(columns, line.split(separator), strict=False)))
    return rows
