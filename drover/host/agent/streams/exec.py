"""A command in a running container, with a terminal if asked.

Client to agent: base64 for stdin, `:resizeTTY:<columns>,<rows>`, `:closeStdin:` at the end of the input (of
Drover: the original had no way to end a pipe). Agent to client: base64 of what the program
writes; without a terminal in Docker's frames (8 bytes header), as the original passed them on. When the client
asked for it (claim or URL parameter `exitCode=true`), the last message is `:exitCode:<number>`, which is not
base64 and so cannot be mistaken for output.

The command dies with its client: a closed browser tab leaves no shell behind.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import re
import signal
import struct
from pathlib import Path

import structlog
from aiodocker.exceptions import DockerError
from aiodocker.execs import Exec
from aiodocker.stream import Stream as DockerStream

from drover.host.agent.engine import Engine
from drover.host.agent.errors import AgentError
from drover.host.agent.streams.claims import StreamClaims
from drover.host.agent.streams.multiplex import Stream

log = structlog.get_logger(__name__)

CHUNK = 4096
END_OF_TRANSMISSION = b"\x04"
HANGUP_GRACE = 1.0
GONE_PAUSE = 0.05
CLEANUP_LIMIT = 5.0
RESIZE_TRIES = 5
RESIZE_PAUSE = 0.1
MAX_TERMINAL = 10_000

CLOSE_STDIN = ":closeStdin:"
_RESIZE = re.compile(r":resizeTTY:(\d{1,5}),(\d{1,5})")


async def serve_exec(stream: Stream, engine: Engine, claims: StreamClaims, container: str) -> None:
    wanted = claims.exec
    if not wanted.cmd:
        raise AgentError("the token names no command to execute")
    exec_id = await engine.create_exec(
        container,
        {
            "AttachStdin": wanted.attach_stdin,
            "AttachStdout": wanted.attach_stdout,
            "AttachStderr": wanted.attach_stderr,
            "Tty": wanted.tty,
            "Cmd": wanted.cmd,
        },
    )
    wants_exit_code = claims.exit_code or stream.query.get("exitCode") == "true"
    command = Exec(engine.streaming, exec_id, tty=wanted.tty)
    ended = False
    try:
        async with command.start(detach=False) as docker:
            feeding = asyncio.create_task(_feed(stream, command, docker, attach=wanted.attach_stdin, tty=wanted.tty))
            try:
                await _drain(stream, docker, tty=wanted.tty)
                ended = True
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
                if not ended and wanted.tty:
                    await _end_input(docker)
        if wants_exit_code:
            await stream.send(f":exitCode:{await _exit_code(engine, exec_id)}")
    finally:
        if not ended:
            await _kill(engine, exec_id)


async def _drain(stream: Stream, docker: DockerStream, *, tty: bool) -> None:
    """Program to client, until the program closes its output."""
    while (message := await docker.read_out()) is not None:
        data = message.data
        if not tty:
            data = struct.pack(">BxxxL", message.stream, len(data)) + data
        for start in range(0, len(data), CHUNK):
            await stream.send(base64.b64encode(data[start : start + CHUNK]).decode())


async def _feed(stream: Stream, command: Exec, docker: DockerStream, *, attach: bool, tty: bool) -> None:
    """Client to program, until the client is gone."""
    async for text in stream.messages():
        if (resize := _RESIZE.fullmatch(text)) is not None:
            await _resize(command, columns=int(resize.group(1)), rows=int(resize.group(2)))
        elif text == CLOSE_STDIN:
            if attach and tty:
                await docker.write_in(END_OF_TRANSMISSION)
            elif attach:
                _half_close(docker)
        elif attach and (data := _decoded(text)):
            await docker.write_in(data)


def _half_close(docker: DockerStream) -> None:
    """The program reads the end of its input while its output goes on; the library can only close both."""
    connection = docker._resp.connection if docker._resp is not None else None
    transport = connection.transport if connection is not None else None
    if transport is not None and transport.can_write_eof():
        transport.write_eof()


async def _resize(command: Exec, *, columns: int, rows: int) -> None:
    """The first size often arrives before the program runs; Docker refuses it then."""
    if not (0 < columns <= MAX_TERMINAL and 0 < rows <= MAX_TERMINAL):
        return
    for _ in range(RESIZE_TRIES):
        try:
            await command.resize(h=rows, w=columns)
            return
        except DockerError as error:
            reason = error.message
        await asyncio.sleep(RESIZE_PAUSE)
    log.debug("exec.resize.failed", reason=reason)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        log.debug("exec.input.unreadable", size=len(text))
        return b""


async def _end_input(docker: DockerStream) -> None:
    try:
        async with asyncio.timeout(1):
            await docker.write_in(END_OF_TRANSMISSION)
    except (RuntimeError, OSError, AssertionError, TimeoutError) as error:
        # The connection is gone already, and with it the input.
        log.debug("exec.input.closed", reason=str(error))


async def _exit_code(engine: Engine, exec_id: str) -> int:
    """Docker closes the output a moment before it knows the exit code."""
    for _ in range(50):
        state = await engine.inspect_exec(exec_id)
        if not state.get("Running") and state.get("ExitCode") is not None:
            return int(state["ExitCode"])
        await asyncio.sleep(0.02)
    raise AgentError("the command ended but Docker reports no exit code")


async def _kill(engine: Engine, exec_id: str) -> None:
    """Hangs up on everything that the command started, then kills what stays."""
    try:
        async with asyncio.timeout(CLEANUP_LIMIT):
            state = await engine.inspect_exec(exec_id)
            pid, container = int(state.get("Pid") or 0), str(state.get("ContainerID") or "")
            if not state.get("Running") or not _belongs_to(pid, container):
                return
            for number, pause in ((signal.SIGHUP, HANGUP_GRACE), (signal.SIGKILL, 0.0)):
                members = session_members(pid)
                for member in members:
                    _signal(member, number)
                if members and pause:
                    await _gone(pid, pause)
    except (DockerError, TimeoutError) as error:
        log.warning("exec.kill.failed", exec=exec_id, reason=str(error))


async def _gone(session: int, limit: float) -> None:
    """Returns when the session is empty, at the latest after `limit` seconds."""
    for _ in range(int(limit / GONE_PAUSE)):
        if not session_members(session):
            return
        await asyncio.sleep(GONE_PAUSE)


def session_members(session: int) -> list[int]:
    """Processes of one session: the command and, job control or not, all that it started."""
    members: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # After the name: state, parent, process group, session.
        if int(fields[3]) == session and fields[0] != "Z":
            members.append(int(path.parent.name))
    return members


def _belongs_to(pid: int, container: str) -> bool:
    """Guards against a pid of another namespace, or one that was given to another process."""
    if pid <= 1 or not container:
        return False
    try:
        return container in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        log.debug("exec.process.gone", pid=pid)
