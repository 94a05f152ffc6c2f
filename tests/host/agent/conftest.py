"""A real Docker engine, and the server's side of the wire, for the agent's tests."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shlex
import shutil
import signal
import subprocess
import tarfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import WSMsgType, web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import RSAKey

from drover.host.agent.engine import Engine
from drover.host.agent.settings import AgentSettings

IMAGE = "drover-test/busybox:1"
APPLETS = (
    "sh",
    "sleep",
    "echo",
    "cat",
    "env",
    "true",
    "false",
    "httpd",
    "nc",
    "ip",
    "ps",
    "kill",
    "stty",
    "printf",
    "seq",
)
PATIENCE = 60.0
"""Seconds until a test gives up: far more than anything here takes, for machines that have other work too."""


# --- the engine ------------------------------------------------------------------------------------------------


@dataclass
class TestEngine:
    """A `dockerd` of our own, with its own bridge, data and socket."""

    __test__ = False

    folder: Path
    bridge: str
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def docker(self, *arguments: str) -> str:
        done = subprocess.run(
            ["docker", "-H", self.url, *arguments], check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip()


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestEngine]:
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        pytest.fail("these tests need root and dockerd (Debian: docker.io); leave them out with -m 'not docker'")
    # A short path: a unix socket's name has room for 107 bytes only.
    folder = Path(f"/tmp/drover-agent-{os.getpid()}")
    folder.mkdir()
    number = os.getpid() % 200 + 20
    bridge = f"dra{os.getpid() % 100000}"
    _ip("link", "add", bridge, "type", "bridge")
    _ip("addr", "add", f"172.30.{number}.1/24", "dev", bridge)
    _ip("link", "set", bridge, "up")
    log_file = (folder / "log").open("wb")
    process = subprocess.Popen(
        [
            "dockerd",
            *("--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")),
            *("--pidfile", str(folder / "pid"), "-H", f"unix://{folder}/docker.sock"),
            *("--iptables=true", f"--bridge={bridge}"),
        ],
        stdout=log_file,
        stderr=log_file,
        start_new_session=True,
    )
    engine = TestEngine(folder, bridge, process)
    try:
        _wait_for_engine(engine)
        _import_image(engine)
        yield engine
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        log_file.close()
        _ip("link", "del", bridge)
        _remove_rules(bridge)
        subprocess.run(["umount", "--quiet", str(folder / "exec" / "netns" / "default")], check=False)
        shutil.rmtree(folder)


def _remove_rules(bridge: str) -> None:
    """An engine leaves its packet filter rules behind; those that name our bridge are ours alone."""
    for table in ("nat", "filter"):
        command = ["iptables", "--wait", "--table", table]
        rules = subprocess.run([*command, "--list-rules"], check=True, capture_output=True, text=True).stdout
        for rule in rules.splitlines():
            words = shlex.split(rule)
            if bridge in words and words[0] == "-A":
                # Another engine on this machine may rebuild the shared chains at the same moment.
                subprocess.run([*command, "--delete", *words[1:]], check=False, capture_output=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _wait_for_engine(engine: TestEngine) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if engine.process.poll() is not None:
            break
        with suppress(subprocess.CalledProcessError):
            engine.docker("version")
            return
        time.sleep(0.1)
    pytest.fail("dockerd did not start:\n" + (engine.folder / "log").read_text()[-3000:])


def _import_image(engine: TestEngine) -> None:
    """Busybox, and a program `agent` that stands for the agent's own image."""
    archive = engine.folder / "image.tar"
    script = engine.folder / "agent"
    script.write_text("#!/bin/sh\nexec sleep 1000\n")
    with tarfile.open(archive, "w") as tar:
        tar.add("/bin/busybox", "bin/busybox", filter=_executable)
        tar.add(script, "bin/agent", filter=_executable)
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for folder in ("tmp", "etc", "proc", "sys"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(entry)
    engine.docker("import", "--change", 'CMD ["sleep", "1000"]', str(archive), IMAGE)


def _executable(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mode = 0o755
    return entry


@pytest.fixture
async def engine(docker_engine: TestEngine, anyio_backend: str) -> AsyncIterator[Engine]:
    """A connection to the engine; containers that the test leaves are removed after it."""
    engine = await Engine.connect(docker_engine.url)
    try:
        yield engine
    finally:
        for row in await engine.list_containers():
            await engine.remove_container(row["Id"], force=True)
        await engine.close()


# --- the server ------------------------------------------------------------------------------------------------


@dataclass
class WireServer:
    """The server's side of the agent protocol, as the original speaks it; `extension` adds Drover's channel."""

    extension: bool = True
    port: int = 0
    access_key: str = "AGENTKEY"
    secret_key: str = "agentsecret"
    registered: dict[str, str] = field(default_factory=dict)
    register_posts: int = 0
    published: int = 0
    subscriptions: list[list[str]] = field(default_factory=list)
    container_events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    applied_items: list[str] = field(default_factory=list)
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    backend: web.WebSocketResponse | None = None
    frames: dict[str, asyncio.Queue[tuple[str, str]]] = field(default_factory=dict)
    replies: dict[str, asyncio.Queue[dict[str, Any]]] = field(default_factory=dict)
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    backend_connected: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def registration_url(self) -> str:
        return f"{self.base}/scripts/ACCESS:1703980800000:SIGNATURE"

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/v1/scripts/{id}", self._script)
        app.router.add_get("/v1/register", self._list_registers)
        app.router.add_post("/v1/register", self._post_register)
        app.router.add_get("/v1/subscribe", self._subscribe)
        app.router.add_post("/v1/publish", self._publish)
        app.router.add_post("/v1/containerevents", self._container_event)
        app.router.add_post("/v1/hostapiproxytokens", self._proxy_token)
        app.router.add_put("/v1/configcontent/{item}", self._applied)
        app.router.add_get("/v1/connectbackend", self._backend)
        return app

    def _authorised(self, request: web.Request, user: str, password: str) -> None:
        expected = base64.b64encode(f"{user}:{password}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {expected}":
            raise web.HTTPUnauthorized

    async def _script(self, request: web.Request) -> web.Response:
        if request.match_info["id"] == "api.crt":
            pem = self.key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            return web.Response(text=pem.decode())
        if request.match_info["id"] != "ACCESS:1703980800000:SIGNATURE":
            raise web.HTTPNotFound
        return web.Response(
            text='#!/bin/sh\nexport CATTLE_REGISTRATION_ACCESS_KEY="registrationToken"\n'
            'export CATTLE_REGISTRATION_SECRET_KEY="ACCESS:1703980800000:SIGNATURE"\n'
            f'export CATTLE_URL="{self.base}"\nexport DETECTED_CATTLE_AGENT_IP="10.9.8.7"\n'
        )

    async def _list_registers(self, request: web.Request) -> web.Response:
        self._authorised(request, "registrationToken", "ACCESS:1703980800000:SIGNATURE")
        key = request.query["key"]
        rows = [{"id": "1r1", "state": "active", "accessKey": self.access_key, "secretKey": self.secret_key}]
        return web.json_response({"data": rows if key in self.registered else []})

    async def _post_register(self, request: web.Request) -> web.Response:
        self._authorised(request, "registrationToken", "ACCESS:1703980800000:SIGNATURE")
        self.register_posts += 1
        self.registered[(await request.json())["key"]] = self.access_key
        return web.json_response({"id": "1r1", "state": "registering"}, status=201)

    async def _subscribe(self, request: web.Request) -> web.WebSocketResponse:
        self._authorised(request, self.access_key, self.secret_key)
        self.subscriptions.append(request.query.getall("eventNames"))
        socket = web.WebSocketResponse()
        if self.extension and request.headers.get("X-Drover-Channel") == "1":
            socket.headers["X-Drover-Channel"] = "1"
        await socket.prepare(request)
        self.sockets.append(socket)
        self.connected.set()
        await socket.send_json({"name": "ping", "id": str(uuid.uuid4()), "resourceType": "agent"})
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self._take_reply(json.loads(message.data)["publish"])
        self.sockets.remove(socket)
        self.connected.clear()
        return socket

    async def _publish(self, request: web.Request) -> web.Response:
        self._authorised(request, self.access_key, self.secret_key)
        self.published += 1
        self._take_reply(await request.json())
        return web.json_response({})

    def _take_reply(self, reply: dict[str, Any]) -> None:
        assert reply["name"].startswith("reply.")
        self.replies.setdefault(reply["previousIds"][0], asyncio.Queue()).put_nowait(reply)

    async def _container_event(self, request: web.Request) -> web.Response:
        self._authorised(request, self.access_key, self.secret_key)
        self.container_events.append((time.monotonic(), await request.json()))
        return web.json_response({}, status=201)

    async def _applied(self, request: web.Request) -> web.Response:
        self.applied_items.append(f"{request.match_info['item']}={request.query['version']}")
        return web.Response()

    async def _proxy_token(self, request: web.Request) -> web.Response:
        self._authorised(request, self.access_key, self.secret_key)
        host = (await request.json())["reportedUuid"]
        url = f"ws://127.0.0.1:{self.port}/v1/connectbackend"
        return web.json_response({"reportedUuid": host, "token": self.token(reportedUuid=host), "url": url})

    async def _backend(self, request: web.Request) -> web.WebSocketResponse:
        assert request.query["token"]
        socket = web.WebSocketResponse(max_msg_size=64 * 1024 * 1024)
        await socket.prepare(request)
        self.backend = socket
        self.backend_connected.set()
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                key, kind, body = message.data.split("||", 2)
                self.frames.setdefault(key, asyncio.Queue()).put_nowait((kind, body))
        return socket

    # --- what tests do ---

    async def send(self, name: str, resource: str, resource_id: str, data: Any, **extra: Any) -> str:
        """Sends a request; returns its id."""
        request = {
            "id": str(uuid.uuid4()),
            "name": name,
            "replyTo": f"reply.{uuid.uuid4().int % 10**12}",
            "resourceType": resource,
            "resourceId": resource_id,
            "data": data,
            "time": 1,
            "context": {"logicPath": []},
        } | extra
        await self.sockets[-1].send_json(request)
        return request["id"]

    async def reply(self, request_id: str, *, timeout: float = PATIENCE) -> dict[str, Any]:
        """The next reply, progress included."""
        async with asyncio.timeout(timeout):
            return await self.replies.setdefault(request_id, asyncio.Queue()).get()

    async def call(self, name: str, resource: str, resource_id: str, data: Any) -> dict[str, Any]:
        """Sends a request and waits for its final reply."""
        request_id = await self.send(name, resource, resource_id, data)
        while True:
            reply = await self.reply(request_id)
            if reply.get("transitioning") != "yes":
                return reply

    def token(self, **claims: Any) -> str:
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        claims = {"sub": "cattle", "iss": "http://cattle.io", "exp": int(time.time()) + 300} | claims
        return jwt.encode({"alg": "RS256"}, claims, RSAKey.import_key(pem))

    async def open_stream(self, path: str) -> str:
        """Opens a stream on the host; returns its key."""
        async with asyncio.timeout(PATIENCE):
            await self.backend_connected.wait()
        key = str(uuid.uuid4())
        assert self.backend is not None
        await self.backend.send_str(f"{key}||0||{path}")
        return key

    async def write(self, key: str, body: str) -> None:
        assert self.backend is not None
        await self.backend.send_str(f"{key}||1||{body}")

    async def close_stream(self, key: str) -> None:
        assert self.backend is not None
        await self.backend.send_str(f"{key}||2||")

    async def read(self, key: str, *, timeout: float = PATIENCE) -> tuple[str, str]:
        """The stream's next frame: (type, body)."""
        async with asyncio.timeout(timeout):
            return await self.frames.setdefault(key, asyncio.Queue()).get()


@pytest.fixture
async def make_server(anyio_backend: str) -> AsyncIterator[Callable[..., Any]]:
    runners: list[web.AppRunner] = []

    async def make(*, port: int = 0, **fields: Any) -> WireServer:
        server = WireServer(**fields)
        runner = web.AppRunner(server.application(), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        server.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        runners.append(runner)
        return server

    yield make
    for runner in runners:
        await runner.cleanup()


# --- requests --------------------------------------------------------------------------------------------------


def instance_data(name: str, **overrides: Any) -> dict[str, Any]:
    """A minimal `compute.instance.*` payload; `fields` are merged into the API fields."""
    fields = {"imageUuid": f"docker:{IMAGE}", "command": ["sleep", "1000"]} | overrides.pop("fields", {})
    instance = {
        "id": 7,
        "type": "instance",
        "uuid": str(uuid.uuid4()),
        "name": name,
        "kind": "container",
        "state": "starting",
        "externalId": None,
        "nics": [{"deviceNumber": 0, "network": {"kind": "dockerBridge", "name": "bridge"}, "ipAddresses": []}],
        "data": {"fields": fields},
    } | overrides
    return {"instanceHostMap": {"id": 1, "state": "activating", "instance": instance}, "processData": {}}


@pytest.fixture
def new_instance() -> Callable[..., dict[str, Any]]:
    return instance_data


@pytest.fixture
def settings_for(tmp_path: Path, docker_engine: TestEngine) -> Callable[..., AgentSettings]:
    def make(server: WireServer, **fields: Any) -> AgentSettings:
        defaults: dict[str, Any] = {
            "registration_url": server.registration_url,
            "state_dir": tmp_path / "state",
            "docker_url": docker_engine.url,
            "detect_cloud_provider": False,
            "hostname": "host-under-test",
        }
        return AgentSettings(**(defaults | fields))

    return make


@pytest.fixture
async def server(make_server: Callable[..., Any]) -> WireServer:
    made: WireServer = await make_server()
    return made


@pytest.fixture
async def agent(
    server: WireServer, engine: Engine, settings_for: Callable[..., AgentSettings]
) -> AsyncIterator[WireServer]:
    """A running agent, registered at and subscribed to the server, which is what the test talks to."""
    async with running_agent(settings_for(server), server):
        yield server


class running_agent:  # noqa: N801 - reads as a context manager
    """Runs the agent in the test's event loop and ends it afterwards, expecting a clean end."""

    def __init__(self, settings: AgentSettings, server: WireServer) -> None:
        self._settings = settings
        self._server = server

    async def __aenter__(self) -> asyncio.Task[None]:
        from drover.host.agent import run_agent

        self._task = asyncio.create_task(run_agent(self._settings))
        waiting = asyncio.create_task(self._server.connected.wait())
        await asyncio.wait((self._task, waiting), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            self._task.result()
        assert self._server.connected.is_set(), "the agent did not subscribe"
        return self._task

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


@pytest.fixture
def run_for() -> type[running_agent]:
    return running_agent


@pytest.fixture
def raw_json() -> Callable[[Any], msgspec.Raw]:
    return lambda value: msgspec.Raw(msgspec.json.encode(value))
