"""A host of its own for tests: a network namespace with its own Docker engine, and a network manager in it.

The manager runs as a process of its own, because it belongs in the namespace. Its world comes as frames, one a line,
on its standard input, where the real program has the metadata service.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 60.0
IMAGE = "drover-test/network:1"
APPLETS = (
    "sh",
    "printf",
    "sleep",
    "cat",
    "httpd",
    "wget",
    "nc",
    "ip",
    "ping",
    "echo",
    "true",
    "ps",
    "ls",
    "date",
    "grep",
)
ROOT = Path(__file__).parents[3]
SUBNET = "10.42.0.0/16"
CNI = {
    "name": "rancher-cni-network",
    "type": "rancher-bridge",
    "bridge": "docker0",
    "bridgeSubnet": SUBNET,
    "isDefaultGateway": True,
    "hostNat": True,
    "hairpinMode": False,
    "promiscMode": True,
    "mtu": 1500,
    "linkMTUOverhead": 98,
    "logToFile": "/var/log/rancher-cni.log",
    "isDebugLevel": "false",
    "ipam": {"type": "rancher-cni-ipam", "subnetPrefixSize": "/16", "isDebugLevel": "false"},
}


def eventually(look: Callable[[], T], *, timeout: float = 20.0, what: str = "") -> T:
    """The first true value of `look`, which may also fail with an assertion until then."""
    deadline = time.monotonic() + timeout
    problem: Exception | None = None
    while True:
        try:
            if value := look():
                return value
        except (AssertionError, subprocess.CalledProcessError, OSError, ValueError, KeyError) as error:
            problem = error
        if time.monotonic() > deadline:
            raise AssertionError(f"never came true: {what or look}") from problem
        time.sleep(0.02)


class LonelyHost:
    """`name` of the namespace begins with drvt-."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = Path("/tmp") / name
        self._engine: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    @property
    def namespace(self) -> Path:
        return Path("/run/netns") / self.name

    def run(self, *argv: str, check: bool = True, stdin: str | None = None) -> str:
        """A command in the host's network namespace."""
        done = subprocess.run(
            ["nsenter", f"--net={self.namespace}", *argv],
            check=check,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            input=stdin,
        )
        return done.stdout

    def docker(self, *argv: str, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", "-H", self.socket, *argv], check=False, capture_output=True, text=True, timeout=PATIENCE
        )
        assert not check or done.returncode == 0, f"docker {argv}: {done.stderr}"
        return done.stdout.strip()

    def inspect(self, container: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.docker("inspect", container))[0]
        return found

    def rules(self, chain: str) -> list[str]:
        """The rules of a chain, whatever table it is in, as iptables-save prints them."""
        lines = self.run("iptables-save").splitlines()
        return [line for line in lines if line.startswith(f"-A {chain} ")]

    def up(self) -> None:
        self.folder.mkdir()
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.run("ip", "link", "set", "lo", "up")
        self.start_engine()
        self._import_image()

    def start_engine(self) -> None:
        (self.folder / "pid").unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._engine = subprocess.Popen(
                [
                    *("nsenter", f"--net={self.namespace}", "dockerd"),
                    *("--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec")),
                    *("--pidfile", str(self.folder / "pid"), "-H", self.socket, "--log-level", "warn"),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(lambda: self.docker("version", "--format", "ok"), timeout=PATIENCE, what="dockerd answers")

    def stop_engine(self) -> None:
        if self._engine is not None:
            self._engine.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._engine.wait(30)
            self._engine.kill()
            self._engine.wait()

    def down(self) -> None:
        with suppress(AssertionError, subprocess.SubprocessError):
            for container in self.docker("ps", "-aq").split():
                self.docker("rm", "-f", container)
        self.stop_engine()
        subprocess.run(["umount", "--quiet", str(self.folder / "exec" / "netns" / "default")], check=False)
        subprocess.run(["ip", "netns", "del", self.name], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _import_image(self) -> None:
        archive = self.folder / "image.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add("/bin/busybox", "bin/busybox", filter=_executable)
            for applet in APPLETS:
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
            for folder in ("tmp", "etc", "proc", "sys", ".r"):
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o777
                tar.addfile(entry)
        self.docker("import", "--change", 'CMD ["sleep", "1000"]', str(archive), IMAGE)

    def start(self, address: str, *command: str, name: str = "", options: tuple[str, ...] = (), mtu: str = "") -> str:
        """A container as the agent starts one: no network, labels, the wait program; returns its id."""
        tail = address.rpartition(".")[2]
        labels = {
            "io.rancher.cni.network": "ipsec",
            "io.rancher.container.ip": f"{address}/16",
            "io.rancher.container.mac_address": f"02:00:01:00:00:{int(tail):02x}",
            "io.rancher.container.uuid": str(uuid.uuid4()),
            "io.rancher.stack_service.name": "shop/web",
        }
        if mtu:
            labels["io.rancher.cni.link_mtu_overhead"] = mtu
        arguments = [f"--label={key}={value}" for key, value in labels.items()]
        if name:
            arguments += ["--name", name]
        return self.docker(
            *("run", "--detach", "--network", "none", "--volume", f"{wait_folder(self)}:/.r:ro"),
            *arguments,
            *options,
            *("--entrypoint", "/.r/r", IMAGE),
            *(command or ("sleep", "1000")),
        )


def wait_folder(host: LonelyHost) -> Path:
    folder = host.folder / "wait"
    if not (folder / "r").exists():
        subprocess.run([str(ROOT / "scripts" / "build-wait"), str(folder / "r")], check=True)
    return folder


def in_container(host: LonelyHost, state: Path) -> list[str]:
    """What starts a program of this machine in a container with the network manager's capabilities."""
    state.mkdir(exist_ok=True)
    # The machine's programs and this checkout, in place of the Drover image.
    shared = ["/usr", "/lib", "/lib64", "/etc", str(ROOT), str(Path(sys.executable).resolve().parents[1])]
    return [
        *("docker", "-H", host.socket, "run", "--rm", "--interactive", "--network", "host", "--pid", "host"),
        *(f"--cap-add={name}" for name in ("NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE")),
        *(f"--volume={each}:{each}:ro" for each in shared),
        f"--volume={host.folder}:{host.folder}",
        *("--env", "MANAGER_SETTINGS", "--env", "PYTHONPATH", "--env", "PATH", "--env", "PYTHONDONTWRITEBYTECODE=1"),
        *("--workdir", str(ROOT), IMAGE),
    ]


def _executable(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mode = 0o755
    return entry


@contextmanager
def lonely_host() -> Iterator[LonelyHost]:
    host = LonelyHost(f"drvt-{os.getpid()}-{uuid.uuid4().hex[:4]}")
    try:
        host.up()
        yield host
    finally:
        host.down()


class ManagerProcess:
    """A running network manager on a lonely host; `settings` are its flags' names and values."""

    def __init__(self, host: LonelyHost, *, contained: bool = False, **settings: object) -> None:
        """`contained`: in a container as the templates start it, without the privileges that we do not ask for."""
        self.host = host
        self.state = host.folder / "state"
        flags = {
            "docker_url": host.socket,
            "state_dir": str(self.state),
            "cni_config_dir": str(host.folder / "cni"),
            "cni_user_dir": str(host.folder / "user-cni"),
            "verify_interval": 1.0,
        } | settings
        program = [sys.executable, str(Path(__file__).with_name("manager_process.py"))]
        inside = in_container(host, self.state) if contained else ["nsenter", f"--net={host.namespace}"]
        self._process = subprocess.Popen(
            [*inside, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "MANAGER_SETTINGS": json.dumps(flags), "PYTHONPATH": str(ROOT)},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        eventually(lambda: any("network.manager.started" in line for line in self.lines), what="the manager starts")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.decode())

    def show(self, frame: bytes) -> None:
        """The world changes."""
        assert self._process.stdin is not None
        self._process.stdin.write(frame + b"\n")
        self._process.stdin.flush()

    def outcome(self, container: str) -> dict[str, Any]:
        """What the agent reads about the container's present start; empty while there is nothing."""
        started = self.host.inspect(container)["State"]["StartedAt"]
        file = self.state / "cni" / container / started
        return json.loads(file.read_text()) if file.exists() else {}

    def attached(self, container: str) -> dict[str, Any]:
        return eventually(lambda: self.outcome(container), what=f"{container[:12]} is attached: {self.log()}")

    def log(self) -> str:
        return "".join(self.lines[-30:])

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        finally:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def __enter__(self) -> ManagerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
