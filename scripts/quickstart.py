"""What `make up` does once the image is built, and `make down`: the steps a user would take by hand.

Each step looks first whether it is done already, so an interrupted run is finished by the next one.
"""

import argparse
import base64
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[1]
STATE = ROOT / ".state"
CLI_CONFIG = STATE / "cli.json"
PASSWORD = STATE / "admin-password"
HELLO = ROOT / "examples" / "hello"

IMAGE = os.environ.get("DROVER_IMAGE", "drover:latest")
SERVER, AGENT, VOLUME = "drover-server", "rancher-agent", "drover-server"
AGENT_VOLUMES = ("rancher-agent-state", "rancher-cni", "rancher-cni-driver", "drover-charon")
MANAGED_LABEL = "io.rancher.container.uuid"  # what every container that Drover starts has
PORT = int(os.environ.get("DROVER_PORT", "8080"))
HELLO_PORT = int(os.environ.get("HELLO_PORT", "8090"))
# Generous, because everything happens at once on a machine that may be small.
HEALTHY_SECONDS = 300
LEAVE_SECONDS = 180

T = TypeVar("T")


class QuickstartError(Exception):
    """A step did not work; the text says which and what to look at."""


def up() -> None:
    url = f"http://{_machine_address()}:{PORT}"
    _step(f"starting the server at {url}")
    _start_server()
    _wait("the server's API", 60, lambda: _status(f"{url}/v2-beta") > 0, logs_of=SERVER)
    _step("logging in")
    password = _admin_password()
    _log_in(url, password)
    _step("adding this machine as a host")
    _add_host(url)
    _step("waiting for network, DNS and health checks")
    _wait("the infrastructure", HEALTHY_SECONDS, lambda: not _unhealthy(url), why=lambda: _unhealthy(url))
    pages = []
    if not _services(url, system=True):
        _step("leaving out examples/hello: the environment has no infrastructure, which it needs")
    else:
        _step("deploying examples/hello")
        _run("docker", "build", "--quiet", "--tag", "drover/hello:latest", str(HELLO))
        hello = ("--stack", "hello", "--file", str(HELLO / "docker-compose.yml"))
        _drover("up", "-d", *hello, environment={"HELLO_PORT": str(_hello_port(url))})
        _wait("examples/hello", HEALTHY_SECONDS, lambda: not _unhealthy(url), why=lambda: _unhealthy(url))
        pages = [f"http://{_machine_address()}:{_hello_port(url)}/"]
        _wait(f"the page {pages[0]}", 30, lambda: _status(pages[0]) == 200)
    _summary(url, password, pages)


def down() -> None:
    """Remove everything that `up` made except installed packages and images."""
    if _container_state(SERVER) == "running" and CLI_CONFIG.exists():
        _step("removing this machine from the environment")
        try:
            _remove_host(f"http://{_machine_address()}:{PORT}")
        except (QuickstartError, OSError) as failure:
            # An `up` that was interrupted: what its host would have taken back is taken back by hand.
            print(f"    {failure}", file=sys.stderr)
    _step("removing server and data")
    image = _image_of(AGENT) if _container_state(AGENT) else IMAGE
    _remove_containers(AGENT, SERVER)
    _remove_rest(image)
    for volume in (VOLUME, *AGENT_VOLUMES):
        subprocess.run(["docker", "volume", "rm", volume], check=False, capture_output=True)
    if (STATE / "made-host-state").exists():
        shutil.rmtree("/var/lib/rancher", ignore_errors=True)
    for path in (CLI_CONFIG, PASSWORD, STATE / "made-host-state"):
        path.unlink(missing_ok=True)


def _start_server() -> None:
    state = _container_state(SERVER)
    if state == "running" and _image_of(SERVER) == _id_of_image(IMAGE):
        return
    if state is not None:
        _keep_password()  # it was printed once, into a log that goes away with the container
        _remove_containers(SERVER)
    command = ("docker", "run", "--detach", "--name", SERVER, "--restart", "unless-stopped")
    try:
        template = ("--env", f"DEFAULT_CATTLE_PROJECT_TEMPLATE_DEFAULT_NAME={_template()}")
        data = ("--volume", f"{VOLUME}:/var/lib/drover")
        _run(*command, "--publish", f"{PORT}:8080", *data, *template, IMAGE, "server")
    except QuickstartError as failure:
        if "address already in use" not in str(failure) and "port is already allocated" not in str(failure):
            raise
        _remove_containers(SERVER)
        raise QuickstartError(f"port {PORT} is in use. Choose another: make down && make up DROVER_PORT=8081") from None


def _template() -> str:
    """The infrastructure of the first environment and of those that name none."""
    if template := os.environ.get("DROVER_TEMPLATE"):
        return template
    # Without ESP in the kernel, IPsec needs the device; VXLAN does not.
    return "Cattle" if Path("/dev/net/tun").exists() else "VXLAN"


def _admin_password() -> str:
    """The password that the server printed on its first start; later starts do not repeat it, so it is kept."""
    try:
        return _wait("the administrator's password", 20, _keep_password, logs_of=SERVER)
    except QuickstartError as failure:
        raise QuickstartError(f"{failure}\nIf an earlier password is lost, begin anew: make down && make up") from None


def _keep_password() -> str | None:
    if not PASSWORD.exists():
        printed = re.search(r"with the password\s+(\S+)", _logs(SERVER))
        if printed is None:
            return None
        PASSWORD.parent.mkdir(exist_ok=True)
        PASSWORD.touch(mode=0o600)
        PASSWORD.write_text(printed[1])
    return PASSWORD.read_text()


def _log_in(url: str, password: str) -> None:
    if CLI_CONFIG.exists() and json.loads(CLI_CONFIG.read_text())["url"].startswith(f"{url}/"):
        return
    _drover("login", url, "--username", "admin", "--password-stdin", stdin=f"{password}\n")


def _add_host(url: str) -> None:
    if not _active_hosts(url):
        if not Path("/var/lib/rancher").exists():
            STATE.joinpath("made-host-state").touch()
        command = shlex.split(_drover("hosts", "register-command", "--ip", _machine_address()))
        try:
            _run(*(command[1:] if command[0] == "sudo" else command), timeout=120)
        except QuickstartError as failure:
            # A machine that lacks a capability itself, such as a restricted virtual machine, can give none away.
            if "apply caps" not in str(failure):
                raise
            _step("no privileged containers on this machine: running the agent without privileges")
            _run_agent_unprivileged(command[-1])
    _wait("the host", 60, lambda: _active_hosts(url), logs_of=AGENT)


def _run_agent_unprivileged(registration_url: str) -> None:
    """The permanent agent container as the registration would launch it, as far as this machine allows."""
    command = ("docker", "run", "--detach", "--name", AGENT, "--restart", "always", "--net", "host", "--pid", "host")
    sockets = ("--volume", "/var/run/docker.sock:/var/run/docker.sock")
    folders = ("--volume", "/var/lib/rancher:/var/lib/rancher", "--volume", f"{AGENT_VOLUMES[0]}:/var/lib/cattle")
    environment = ("--env", f"CATTLE_AGENT_IP={_machine_address()}", "--env", f"RANCHER_AGENT_IMAGE={IMAGE}")
    _run(*command, *sockets, *folders, *environment, IMAGE, "agent", registration_url)


def _environment(url: str) -> str:
    """API address of the environment that the login chose."""
    return f"{url}/v2-beta/projects/{json.loads(CLI_CONFIG.read_text())['environment']}"


def _active_hosts(url: str) -> list[str]:
    hosts = _call("GET", f"{_environment(url)}/hosts")["data"]
    return [host["hostname"] for host in hosts if host["state"] == "active"]


def _remove_host(url: str) -> None:
    """Take the machine out of its environment: the server removes its containers and has it cleaned up."""
    hosts = [host["id"] for host in _call("GET", f"{_environment(url)}/hosts")["data"]]
    if hosts:
        _drover("rm", "--type", "host", "--stop", "--yes", "--wait", "--timeout", str(LEAVE_SECONDS), *hosts)


def _remove_rest(image: str) -> None:
    """What the removal of the host leaves behind when it did not happen; otherwise there is nothing."""
    managed = _run("docker", "ps", "--all", "--quiet", "--filter", f"label={MANAGED_LABEL}").split()
    if not managed:
        return
    _remove_containers(*managed)
    privileges = [f"--cap-add={each}" for each in ("NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE")]
    folders = ("/var/run/docker.sock", "/var/lib/docker", "/var/lib/rancher/state", "/run")
    mounts = [f"--volume={each}:{each}" for each in folders]
    command = ("docker", "run", "--rm", "--net=host", "--pid=host", *privileges, *mounts)
    try:
        _run(*command, image, "network-manager", "--cleanup")
    except QuickstartError as failure:
        print(f"    {failure}", file=sys.stderr)


def _services(url: str, *, system: bool) -> list[dict[str, Any]]:
    services: list[dict[str, Any]] = _call("GET", f"{_environment(url)}/services?limit=1000")["data"]
    return [each for each in services if bool(each.get("system")) is system]


def _unhealthy(url: str) -> list[str]:
    """The services that are not healthy yet, each with what it says about that."""
    project = _call("GET", _environment(url))
    if project.get("projectTemplateId") and project.get("createdStackIds") != project.get("startedStackIds"):
        return ["the infrastructure is being installed"]
    services = [*_services(url, system=True), *_services(url, system=False)]
    awaited = [each for each in services if each["state"] != "inactive" or each["system"]]
    return [
        f"{each['name']} {each['state']} {each['healthState']} {each.get('transitioningMessage') or ''}".rstrip()
        for each in awaited
        if each["state"] != "active" or each["healthState"] not in ("healthy", "started-once")
    ]


def _hello_port(url: str) -> int:
    """The port of the running example, else the first one from HELLO_PORT on that nobody has."""
    for service in _services(url, system=False):
        if service["name"] == "front" and service.get("publicEndpoints"):
            return int(service["publicEndpoints"][0]["port"])
    for port in range(HELLO_PORT, HELLO_PORT + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise QuickstartError(f"no port from {HELLO_PORT} on is free. Choose another: make up HELLO_PORT=18090")


def _summary(url: str, password: str, pages: list[str]) -> None:
    print(f"\nDrover is up.\n\n  web UI and API   {url}\n  login            admin / {password}")
    for page in pages:
        print(f"  examples/hello   {page}")
    print(f"\n  export DROVER_CLIENT_CONFIG={CLI_CONFIG}   then, for example: .venv/bin/drover ps\n")


def _drover(*arguments: str, stdin: str | None = None, environment: dict[str, str] | None = None) -> str:
    command = Path(sys.executable).with_name("drover")
    words = (str(command), "--config", str(CLI_CONFIG), *arguments)
    return _run(*words, stdin=stdin, timeout=HEALTHY_SECONDS, environment=environment)


def _call(method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One API request with the key of the stored login."""
    key = json.loads(CLI_CONFIG.read_text())
    basic = base64.b64encode(f"{key['accessKey']}:{key['secretKey']}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/json", "Accept": "application/json"}
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with _direct().open(request, timeout=20) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        raise QuickstartError(f"{method} {url}: {error.code}: {error.read().decode(errors='replace')}") from error
    except OSError as error:
        raise QuickstartError(f"{method} {url}: {error}\nWhat the server says: docker logs {SERVER}") from error


def _status(url: str) -> int:
    """The status of the answer; 0 without one."""
    try:
        with _direct().open(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _direct() -> urllib.request.OpenerDirector:
    """Requests to this machine go to this machine, not to a proxy."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _machine_address() -> str:
    if address := os.environ.get("DROVER_HOST_IP"):
        return address
    # The address that packets to the world would carry; nothing is sent to the documentation address.
    routes = json.loads(_run("ip", "-json", "route", "get", "192.0.2.1"))
    return str(routes[0]["prefsrc"])


def _wait(
    what: str,
    seconds: float,
    ready: Callable[[], T | None],
    *,
    logs_of: str | None = None,
    why: Callable[[], list[str]] | None = None,
) -> T:
    deadline = time.monotonic() + seconds
    while not (result := ready()):
        if time.monotonic() > deadline:
            detail = f"; its log ends with:\n{_logs(logs_of)[-2000:]}" if logs_of else ""
            detail += "".join(f"\n    {line}" for line in why()) if why else ""
            raise QuickstartError(f"{what}: not there after {seconds:g} s{detail}")
        time.sleep(0.5)
    return result


def _container_state(name: str) -> str | None:
    found = subprocess.run(
        ["docker", "container", "inspect", "--format", "{{.State.Status}}", name],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    return found.stdout.strip() if found.returncode == 0 else None


def _image_of(container: str) -> str:
    return _run("docker", "container", "inspect", "--format", "{{.Image}}", container).strip()


def _id_of_image(image: str) -> str:
    return _run("docker", "image", "inspect", "--format", "{{.Id}}", image).strip()


def _remove_containers(*names: str) -> None:
    for name in names:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], check=False, capture_output=True)


def _logs(container: str) -> str:
    found = subprocess.run(["docker", "logs", container], check=False, capture_output=True, text=True)
    return found.stdout + found.stderr


def _run(*argv: str, stdin: str | None = None, timeout: float = 300, environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            argv, check=False, capture_output=True, text=True, input=stdin or "", timeout=timeout,
            env=os.environ | (environment or {}),
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        raise QuickstartError(f"{shlex.join(argv)}: no end after {timeout:g} s") from late
    if done.returncode:
        raise QuickstartError(
            f"{shlex.join(argv)}: exit status {done.returncode}: {(done.stderr or done.stdout).strip()}"
        )
    return done.stdout


def _step(text: str) -> None:
    print(f"==> {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("up", "down"))
    try:
        {"up": up, "down": down}[parser.parse_args().command]()
    except QuickstartError as failure:
        sys.exit(f"error: {failure}")


if __name__ == "__main__":
    main()
