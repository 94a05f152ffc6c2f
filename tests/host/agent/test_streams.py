"""Logs, shells, sockets and statistics as a client of the stream proxy sees them."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest

from drover.host.agent.streams.logs import LineSplitter, since_timestamp
from drover.host.agent.streams.multiplex import Frame, Stream, StreamClosed, parse_frame
from tests.host.agent.conftest import IMAGE, PATIENCE

pytestmark = pytest.mark.anyio


async def host_uuid(server: Any) -> str:
    reply = await server.call("ping", "agent", "1a1", {"options": {"resources": True}})
    return next(e["uuid"] for e in reply["data"]["resources"] if e["type"] == "host")


async def read_until_closed(server: Any, key: str) -> tuple[list[str], str]:
    """All bodies, and the reason in the close frame."""
    bodies: list[str] = []
    while True:
        kind, body = await server.read(key)
        if kind == "2":
            return bodies, body
        bodies.append(body)


@pytest.fixture
async def host(agent: Any) -> str:
    return await host_uuid(agent)


@pytest.mark.docker
async def test_logs_of_both_streams_and_long_lines(agent, host, docker_engine):
    script = "echo out; echo err >&2; printf '%070000d\\n' 7; printf unfinished"
    container = docker_engine.docker("run", "-d", IMAGE, "sh", "-c", script)
    docker_engine.docker("wait", container)
    claims = {"Container": container, "Lines": 100, "Follow": True, "Timestamps": False, "Since": ""}
    key = await agent.open_stream(f"/v1/logs/?token={agent.token(hostUuid=host, logs=claims)}")
    bodies, reason = await read_until_closed(agent, key)
    assert reason == ""
    assert "02 err\n" in bodies
    assert [body for body in bodies if body.startswith("01 out")] == ["01 out\n"]
    assert "".join(body[3:] for body in bodies if body.startswith("01")) == f"out\n{7:070000d}\nunfinished"


@pytest.mark.docker
async def test_logs_follow_with_timestamps_until_the_client_leaves(agent, host, docker_engine):
    container = docker_engine.docker("run", "-d", "-t", IMAGE, "sh", "-c", "while :; do echo tick; sleep 0.1; done")
    claims = {"Container": container, "Lines": 1, "Follow": True, "Timestamps": True, "Since": ""}
    key = await agent.open_stream(f"/v1/logs/?token={agent.token(hostUuid=host, logs=claims)}")
    for _ in range(3):
        kind, body = await agent.read(key)
        assert kind == "1"
        assert body.startswith("00 20")
        assert body.endswith(" tick\r\n")
    await agent.close_stream(key)
    other = await agent.open_stream(f"/v1/hoststats?token={agent.token(hostUuid=host)}")
    await agent.read(other)
    after_close = agent.frames[key].qsize()
    await agent.read(other)
    assert agent.frames[key].qsize() == after_close, "a second later, no more ticks have come"


@pytest.mark.docker
@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"hostUuid": "other"}, "for another host"),
        ({"exp": 1}, "expired"),
    ],
)
async def test_tokens_that_do_not_open_a_stream(agent, host, claims, reason):
    claims = {"hostUuid": host, "logs": {"Container": "x"}} | claims
    key = await agent.open_stream(f"/v1/logs/?token={agent.token(**claims)}")
    kind, body = await agent.read(key)
    assert (kind, reason in body) == ("2", True), body


@pytest.mark.docker
async def test_a_forged_token_and_an_unknown_path_are_closed_with_the_reason(agent, host, make_server):
    stranger = await make_server()
    forged = stranger.token(hostUuid=host, logs={"Container": "x"})
    for path, reason in (
        (f"/v1/logs/?token={forged}", "signature"),
        ("/v1/logs/", "no token"),
        ("/v1/x/", "no stream"),
    ):
        key = await agent.open_stream(path)
        kind, body = await agent.read(key)
        assert kind == "2"
        assert reason in body


@pytest.mark.docker
async def test_a_wrong_clock_on_the_host_does_not_matter(agent, host, docker_engine, monkeypatch):
    """The token was made by a server whose clock is an hour behind this host's."""
    container = docker_engine.docker("run", "-d", IMAGE, "echo", "hello")
    docker_engine.docker("wait", container)
    real = time.time
    from drover.host.agent import server as server_module

    class Clock:
        time = staticmethod(lambda: real() + 3600)

    await agent.call("config.update", "agent", "1a1", {"items": [{"name": "host-config"}]})
    monkeypatch.setattr(server_module, "time", Clock)
    claims = {"Container": container, "Timestamps": False}
    # Refreshing makes the agent look at the server's Date header with its own wrong clock.
    await agent.call("config.update", "agent", "1a1", {"items": [{"name": "host-config"}]})
    key = await agent.open_stream(f"/v1/logs/?token={agent.token(hostUuid=host, logs=claims)}")
    bodies, reason = await read_until_closed(agent, key)
    assert (bodies, reason) == (["01 hello\n"], "")


def shell_token(server: Any, host: str, container: str, command: list[str], **more: Any) -> str:
    claims = {"AttachStdin": True, "AttachStdout": True, "Tty": True, "Cmd": command, "Container": container}
    extra = more.pop("claims", {})
    return server.token(hostUuid=host, exec=claims | more, **extra)


async def output_until(server: Any, key: str, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        kind, body = await server.read(key)
        assert kind == "1", (kind, body, seen)
        seen += base64.b64decode(body)
    return seen


@pytest.mark.docker
async def test_a_shell_with_input_size_and_exit_code(agent, host, docker_engine):
    container = docker_engine.docker("run", "-d", IMAGE)
    token = shell_token(agent, host, container, ["sh"], claims={"exitCode": True})
    key = await agent.open_stream(f"/v1/exec/?token={token}")
    await agent.write(key, ":resizeTTY:123,45")
    await agent.write(key, base64.b64encode(b"sleep 0.3; stty size; echo mark$((1+1))\n").decode())
    assert b"45 123" in await output_until(agent, key, b"mark2")
    await agent.write(key, base64.b64encode(b"exit 7\n").decode())
    bodies, _ = await read_until_closed(agent, key)
    assert bodies[-1] == ":exitCode:7"


@pytest.mark.docker
async def test_without_a_terminal_dockers_frames_pass_through(agent, host, docker_engine):
    container = docker_engine.docker("run", "-d", IMAGE)
    token = shell_token(agent, host, container, ["echo", "plain"], Tty=False)
    key = await agent.open_stream(f"/v1/exec/?token={token}")
    bodies, _ = await read_until_closed(agent, key)
    assert b"".join(base64.b64decode(body) for body in bodies) == b"\x01\0\0\0\0\0\0\x06plain\n"


@pytest.mark.docker
async def test_the_end_of_the_input_is_passed_on(agent, host, docker_engine):
    container = docker_engine.docker("run", "-d", IMAGE)
    token = shell_token(agent, host, container, ["cat"], Tty=False, AttachStderr=True, claims={"exitCode": True})
    key = await agent.open_stream(f"/v1/exec/?token={token}")
    await agent.write(key, base64.b64encode(b"to the end").decode())
    await agent.write(key, ":closeStdin:")
    bodies, _ = await read_until_closed(agent, key)
    assert b"".join(base64.b64decode(body) for body in bodies[:-1]).endswith(b"to the end")
    assert bodies[-1] == ":exitCode:0"


@pytest.mark.docker
async def test_closing_the_browser_leaves_no_shell_behind(agent, host, docker_engine):
    container = docker_engine.docker("run", "-d", IMAGE)
    # The command ignores the hang-up, and has a child in the background.
    command = ["sh", "-c", "trap '' HUP; sleep 777 & while :; do sleep 778; done"]
    key = await agent.open_stream(f"/v1/exec/?token={shell_token(agent, host, container, command)}")

    def sleepers() -> int:
        return sum(
            line.count("sleep 77") for line in docker_engine.docker("top", container, "-eo", "pid,args").splitlines()
        )

    async with asyncio.timeout(PATIENCE):
        while sleepers() < 2:
            await asyncio.sleep(0.05)
    await agent.close_stream(key)
    async with asyncio.timeout(PATIENCE):
        while sleepers():
            await asyncio.sleep(0.05)


@pytest.mark.docker
async def test_an_exec_in_a_stopped_container_says_why(agent, host, docker_engine):
    container = docker_engine.docker("create", IMAGE)
    key = await agent.open_stream(f"/v1/exec/?token={shell_token(agent, host, container, ['sh'])}")
    _, reason = await read_until_closed(agent, key)
    assert "is not running" in reason


@pytest.mark.docker
async def test_the_docker_socket_is_passed_through(agent, host):
    key = await agent.open_stream(f"/v1/dockersocket/?token={agent.token(hostUuid=host)}")
    await agent.write(key, base64.b64encode(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").decode())
    bodies, _ = await read_until_closed(agent, key)
    answer = b"".join(base64.b64decode(body) for body in bodies)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"OK")


@pytest.mark.docker
async def test_host_statistics(agent, host):
    key = await agent.open_stream(f"/v1/hoststats?token={agent.token(hostUuid=host, resourceId='1h5')}")
    samples = [json.loads((await agent.read(key))[1]) for _ in range(2)]
    (first,), (second,) = samples
    assert first["id"] == "1h5"
    assert first["resourceType"] == "host"
    assert first["cpu"]["usage"]["total"] == sum(first["cpu"]["usage"]["per_cpu_usage"])
    assert second["cpu"]["usage"]["total"] >= first["cpu"]["usage"]["total"] > 0
    assert 0 < first["memory"]["usage"] < first["memLimit"]
    assert first["network"]["name"] == "all"
    assert "interfaces" not in first["network"]
    await agent.close_stream(key)


@pytest.mark.docker
async def test_container_statistics(agent, host, docker_engine):
    busy = docker_engine.docker("run", "-d", "-m", "64m", IMAGE, "sh", "-c", "while :; do :; done")
    idle = docker_engine.docker("run", "-d", IMAGE)
    token = agent.token(hostUuid=host, containerIds={busy: "1i7", idle: "1i8"})
    key = await agent.open_stream(f"/v1/containerstats?token={token}")
    latest: dict[str, Any] = {}
    async with asyncio.timeout(PATIENCE):
        while len(latest) < 2 or latest["1i7"]["cpu"]["usage"]["total"] < 500_000_000:
            kind, body = await agent.read(key)
            assert kind == "1"
            latest |= {sample["id"]: sample for sample in json.loads(body)}
    assert latest["1i7"]["resourceType"] == "container"
    assert latest["1i7"]["memory"]["limit"] == 64 * 1024 * 1024
    assert 0 < latest["1i7"]["memory"]["usage"] < 64 * 1024 * 1024
    assert [interface["name"] for interface in latest["1i8"]["network"]["interfaces"]] == ["eth0"]
    await agent.close_stream(key)
    one = await agent.open_stream(f"/v1/containerstats/{idle}?token={agent.token(hostUuid=host)}")
    assert json.loads((await agent.read(one))[1])[0]["id"] == idle
    docker_engine.docker("kill", idle)
    await read_until_closed(agent, one)


@pytest.mark.docker
async def test_http_to_a_container(agent, host, docker_engine):
    container = docker_engine.docker(
        "run", "-d", IMAGE, "sh", "-c", "echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"
    )
    address = docker_engine.docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", container)
    await asyncio.sleep(0.3)
    key = await agent.open_stream("/v1/container-proxy/")
    head = {"host": "h", "method": "GET", "url": f"http://{address}:8080/index.html?a=1", "headers": {"X-A": ["1"]}}
    await agent.write(key, json.dumps(head))
    await agent.write(key, json.dumps({"eof": True}))
    bodies, reason = await read_until_closed(agent, key)
    messages = [json.loads(body) for body in bodies]
    assert (messages[0]["code"], reason) == (200, "")
    assert b"".join(base64.b64decode(m.get("body", "")) for m in messages) == b"hello\n"
    assert messages[-1] == {"eof": True}
    raw = await agent.open_stream("/v1/container-proxy/")
    await agent.write(raw, json.dumps(head | {"hijack": True}))
    bodies, _ = await read_until_closed(agent, raw)
    assert b"".join(base64.b64decode(json.loads(b).get("body", "")) for b in bodies).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.docker
@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:22/", "http://169.254.169.254/latest", "http://localhost/", "file:///etc/passwd", "gopher://x"],
)
async def test_the_proxy_refuses_what_is_no_container(agent, host, url):
    key = await agent.open_stream("/v1/container-proxy/")
    await agent.write(key, json.dumps({"method": "GET", "url": url, "headers": {}}))
    _, reason = await read_until_closed(agent, key)
    assert "not an address of a container" in reason


@pytest.mark.docker
async def test_streams_come_back_with_a_new_connection(agent, host):
    async with asyncio.timeout(PATIENCE):
        await agent.backend_connected.wait()
    agent.backend_connected.clear()
    await agent.backend.close()
    async with asyncio.timeout(PATIENCE):
        await agent.backend_connected.wait()
    key = await agent.open_stream(f"/v1/hoststats?token={agent.token(hostUuid=host)}")
    assert (await agent.read(key))[0] == "1"
    await agent.close_stream(key)


def test_frames():
    assert parse_frame("k||1||a||b") == Frame("k", "1", "a||b")
    assert parse_frame("nonsense") is None
    assert parse_frame("||1||x") is None
    assert Frame("k", "2").encode() == "k||2||"


async def test_a_client_that_sends_too_much_is_refused():
    async def nowhere(_: Frame) -> None:
        raise AssertionError

    stream = Stream("k", "/v1/exec/?token=t", nowhere)
    assert stream.token == "t"
    chunk = "x" * (1024 * 1024)
    for _ in range(4):
        stream.feed(chunk)
    with pytest.raises(StreamClosed):
        stream.feed("x")
    stream.end()
    assert [len(body) async for body in stream.messages()] == [1024 * 1024] * 4


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


def test_lines_survive_any_cut():
    data = frame(1, b"one\ntw") + frame(2, b"err\n") + frame(1, b"o\n\xc3") + frame(1, b"\xa9\nlast")
    expected = ["01 one\n", "02 err\n", "01 two\n", "01 \u00e9\n", "01 last"]
    for size in (1, 2, 3, 7, 1000):
        splitter = LineSplitter(tty=False)
        lines = [line for start in range(0, len(data), size) for line in splitter.feed(data[start : start + size])]
        assert [*lines, *splitter.rest()] == expected


def test_since():
    assert since_timestamp("1700000000.5", now=0) == "1700000000.5"
    assert since_timestamp("1h10m", now=10_000) == "5800.000"
    assert since_timestamp("1970-01-01T00:01:00+00:00", now=0) == "60.000"
    with pytest.raises(Exception, match="neither a time stamp nor a duration"):
        since_timestamp("yesterday", now=0)
