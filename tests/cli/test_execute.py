"""`exec` as its own process: terminals, pipes and exit status cannot be tried in-process."""

import asyncio
import base64
import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web

from tests.wire import WireServer, docker_frame, frame

# Interrupted as at a terminal, also where the tests run in the background of a shell, which ignores that signal.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = 'drover'
from drover.cli.main import main
main()
"""


@pytest.fixture
def environ(server: WireServer, config: Path) -> dict[str, str]:
    server.add("container", name="job", state="running")
    return {**os.environ, "DROVER_URL": f"{server.url}/v2-beta/projects/1a5", "DROVER_CLIENT_CONFIG": str(config)}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, *arguments]


async def cat(socket: web.WebSocketResponse) -> None:
    """Writes its input back and ends with status 0 at the end of the input."""
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            return
        if message.data == ":closeStdin:":
            await socket.send_str(":exitCode:0")
            return
        if not message.data.startswith(":"):
            await socket.send_str(frame(docker_frame(1, base64.b64decode(message.data))))


def test_output_and_status_without_a_terminal(server: WireServer, environ: dict[str, str]) -> None:
    async def program(socket: web.WebSocketResponse) -> None:
        await socket.send_str(frame(docker_frame(1, b"out\n") + docker_frame(2, b"err\n")))
        await socket.send_str(":exitCode:42")

    server.streams["exec"] = program
    arguments = command("exec", "job", "ls", "-la", "--color")
    done = subprocess.run(arguments, env=environ, capture_output=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 42)
    assert server.bodies == [
        {"attachStdin": False, "attachStdout": True, "tty": False, "command": ["ls", "-la", "--color"]}
    ]


def test_the_mark_that_ends_the_flags_is_not_part_of_the_command(server: WireServer, environ: dict[str, str]) -> None:
    async def program(socket: web.WebSocketResponse) -> None:
        await socket.send_str(":exitCode:0")

    server.streams["exec"] = program
    subprocess.run(command("exec", "job", "--", "echo", "--", "x"), env=environ, check=True, timeout=60)
    assert [body["command"] for body in server.bodies] == [["echo", "--", "x"]]
    nothing = subprocess.run(command("exec", "job", "--"), env=environ, capture_output=True, timeout=60)
    assert (nothing.returncode, b"nothing to run" in nothing.stderr) == (2, True)


def test_standard_input_is_piped_and_ends(server: WireServer, environ: dict[str, str]) -> None:
    server.streams["exec"] = cat
    data = os.urandom(200_000)
    done = subprocess.run(command("exec", "-i", "job", "cat"), env=environ, input=data, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == data


def test_a_file_as_standard_input(server: WireServer, environ: dict[str, str], tmp_path: Path) -> None:
    server.streams["exec"] = cat
    file = tmp_path / "input"
    file.write_bytes(b"from a file")
    with file.open("rb") as source:
        done = subprocess.run(
            command("exec", "-i", "job", "cat"), env=environ, stdin=source, capture_output=True, timeout=60
        )
    assert done.stdout == b"from a file"


def test_a_container_that_does_not_run(server: WireServer, environ: dict[str, str]) -> None:
    server.add("service", name="web", instanceIds=[server.add("container", name="web-1", state="stopped")["id"]])
    done = subprocess.run(command("exec", "web", "ls"), env=environ, capture_output=True, timeout=60)
    assert done.returncode == 2
    assert b"is stopped: start it first" in done.stderr


@contextlib.contextmanager
def at_terminal(arguments: list[str], environ: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(arguments, env=environ, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    try:
        yield process, master
    finally:
        process.kill()
        process.wait()
        os.close(slave)
        os.close(master)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_a_shell_at_a_terminal(server: WireServer, environ: dict[str, str]) -> None:
    received: list[str] = []

    async def shell(socket: web.WebSocketResponse) -> None:
        await socket.send_str(frame(b"$ "))
        async for message in socket:
            received.append(str(message.data))
            if message.data == frame(b"\x03"):
                await socket.send_str(frame(b"interrupted\r\n"))
                await socket.send_str(":exitCode:130")
                return

    server.streams["exec"] = shell
    with at_terminal(command("exec", "-it", "job", "sh"), environ) as (process, master):
        cooked = termios.tcgetattr(master)
        until(lambda: ":resizeTTY:100,30" in received)
        # In raw mode Ctrl-C is a character for the program in the container, not a signal for us.
        until(lambda: not termios.tcgetattr(master)[3] & termios.ISIG)
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        process.send_signal(signal.SIGWINCH)
        until(lambda: ":resizeTTY:120,40" in received)
        os.write(master, b"\x03")
        assert process.wait(timeout=60) == 130
        assert termios.tcgetattr(master)[3] == cooked[3]
        assert b"interrupted\r\n" in os.read(master, 4096)
    assert server.bodies[-1]["tty"] is True


def test_logs_of_a_service_are_told_apart(server: WireServer, environ: dict[str, str]) -> None:
    async def lines(socket: web.WebSocketResponse) -> None:
        await socket.send_str("01 hello\n")

    server.streams["logs"] = lines
    ids = [server.add("container", name=f"shop-web-{number}", state="running")["id"] for number in (1, 2)]
    server.add("service", name="web", instanceIds=ids)
    done = subprocess.run(command("logs", "web"), env=environ, capture_output=True, timeout=60, text=True)
    assert sorted(done.stdout.splitlines()) == ["shop-web-1 | hello", "shop-web-2 | hello"]
    assert done.returncode == 0


def test_one_lost_host_does_not_end_the_logs(server: WireServer, environ: dict[str, str]) -> None:
    async def lines(socket: web.WebSocketResponse) -> None:
        await socket.send_str("02 warning\n")

    server.streams["logs"] = lines
    good = server.add("container", name="web-1", state="running")["id"]
    bad = server.add("container", name="web-2", state="running")["id"]
    usual = server.url.replace("http", "ws", 1) + "/v1/logs/"
    server.actions["logs"] = lambda _wire, resource, _body: (
        {"type": "hostAccess"} if resource["id"] == bad else {"url": usual, "token": "T"}
    )
    server.add("service", name="web", instanceIds=[good, bad])
    done = subprocess.run(command("logs", "web"), env=environ, capture_output=True, timeout=60, text=True)
    assert "web-1 | warning" in done.stderr
    assert "container web-2" in done.stderr
    assert done.returncode == 1


def test_events(server: WireServer, environ: dict[str, str]) -> None:
    with subprocess.Popen(command("events"), env=environ, stdout=subprocess.PIPE) as process:
        until(lambda: bool(server.sockets))
        raw = server.add("service", name="web", state="activating", transitioningMessage="pulling")
        assert server.loop is not None

        asyncio.run_coroutine_threadsafe(server.change(raw["id"]), server.loop).result(5)
        assert process.stdout is not None
        assert process.stdout.readline().decode() == f"service {raw['id']} activating [web] pulling\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
