"""The commands that matter most, against a real server with simulated hosts."""

import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAM = "import sys; sys.argv[0] = 'drover'; from drover.cli.main import main; main()"
Drover = Callable[..., subprocess.CompletedProcess[str]]

COMPOSE = """
version: '2'
services:
  db:
    image: postgres:15
  web:
    image: nginx:1.25
    scale: 2
    links: ["db:database"]
  lb:
    image: rancher/lb-service-haproxy:v0.9.14
    ports: ["80:80"]
    lb_config:
      port_rules: [{source_port: 80, target_port: 80, service: web}]
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, *arguments]


def clean_environ(**added: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("DROVER_", "RANCHER_", "COMPOSE_"))
    }
    return {**kept, **added}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with access control and two simulated hosts."""
    folder = tmp_path_factory.mktemp("server")
    log = (folder / "server.log").open("w")
    server = subprocess.Popen(
        command(
            "server", "--auth", "none", "--data-dir", str(folder), "--listen", "127.0.0.1:0", "--log-format", "json"
        ),
        env=clean_environ(),
        stdout=log,
        stderr=log,
    )
    hosts: subprocess.Popen[bytes] | None = None
    try:
        address = _ready_url(folder / "server.log", server)
        hosts = subprocess.Popen(
            command("simulate", "--hosts", "2", "--url", address), env=clean_environ(), stdout=log, stderr=log
        )
        yield address
    finally:
        for process in (hosts, server):
            if process is not None:
                process.terminate()
                process.wait(timeout=60)
        log.close()


def _ready_url(log: Path, server: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        for line in log.read_text().splitlines():
            if '"server.ready"' in line:
                return str(json.loads(line)["url"])
        time.sleep(0.05)
    raise AssertionError(f"the server did not start: {log.read_text()}")


@pytest.fixture
def drover(url: str, tmp_path: Path) -> Drover:
    environ = clean_environ(DROVER_URL=url, DROVER_CLIENT_CONFIG=str(tmp_path / "cli.json"))

    def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), env=environ, cwd=tmp_path, input=stdin, capture_output=True, text=True, timeout=90
        )

    return run


@pytest.fixture
def hosts(drover: Drover) -> list[str]:
    """Ids of the two hosts, once both are active."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = drover("hosts", "-q").stdout.split()
        if len(found) == 2:
            done = drover("wait", "--timeout", "30", *found)
            assert done.returncode == 0, done.stderr
            return found
        time.sleep(0.2)
    raise AssertionError("the simulated hosts did not appear")


def succeed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(drover: Drover, *arguments: str) -> dict[str, dict[str, str]]:
    lines = succeed(drover(*arguments, "--format", "json")).splitlines()
    return {row["Name"]: row for row in map(json.loads, lines)}


def test_the_life_of_a_stack(drover: Drover, hosts: list[str], tmp_path: Path) -> None:
    file = tmp_path / "docker-compose.yml"
    file.write_text(COMPOSE)
    planned = succeed(drover("up", "-s", "shop", "--plan"))
    assert planned.splitlines()[0] == "stack shop: create"
    assert rows(drover, "stacks") == {}

    done = drover("up", "-s", "shop", "-d", "--timeout", "60")
    succeed(done)
    progress = done.stderr.splitlines()
    assert progress.index("db: starting") < progress.index("web: starting") < progress.index("lb: starting")
    services = rows(drover, "ps")
    assert {name: row["Scale"] for name, row in services.items()} == {
        "shop/db": "1/1",
        "shop/web": "2/2",
        "shop/lb": "1/1",
    }
    assert services["shop/lb"]["Type"] == "loadBalancerService"
    containers = rows(drover, "ps", "shop/web")
    assert set(containers) == {"shop-web-1", "shop-web-2"}
    assert all(row["Host"].startswith("testhost-") for row in containers.values())

    again = drover("up", "-s", "shop", "-d", "--upgrade")
    succeed(again)
    assert "upgrading" not in again.stderr

    file.write_text(COMPOSE.replace("nginx:1.25", "nginx:1.26"))
    succeed(drover("up", "-s", "shop", "-d", "--upgrade", "--batch-size", "2", "--interval", "100"))
    assert rows(drover, "ps")["shop/web"]["State"] == "upgraded"
    succeed(drover("up", "-s", "shop", "-d", "--rollback"))
    assert rows(drover, "ps")["shop/web"]["Image"] == "nginx:1.25"
    succeed(drover("up", "-s", "shop", "-d", "--upgrade", "--confirm-upgrade", "--interval", "100"))
    assert rows(drover, "ps")["shop/web"]["Image"] == "nginx:1.26"

    succeed(drover("scale", "--wait", "shop/web=3"))
    assert rows(drover, "ps")["shop/web"]["Scale"] == "3/3"
    succeed(drover("restart", "--wait", "--interval", "100", "shop/web"))
    succeed(drover("stop", "--wait", "shop/db"))
    assert rows(drover, "ps", "-a")["shop/db"]["State"] == "inactive"
    succeed(drover("start", "--wait", "shop/db"))
    assert "1s" in succeed(drover("wait", "shop/db"))

    succeed(drover("export", "-f", "shop.tar", "shop"))
    with tarfile.open(tmp_path / "shop.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    exported = (tmp_path / "shop" / "docker-compose.yml").read_text()
    assert "nginx:1.26" in exported
    succeed(drover("up", "-s", "copy", "-f", "shop/docker-compose.yml", "-d", "--timeout", "60"))
    assert rows(drover, "ps")["copy/web"]["Image"] == "nginx:1.26"

    succeed(drover("rm", "--wait", "shop", "copy"))
    assert rows(drover, "stacks") == {}
    assert drover("inspect", "shop").returncode == 3


def test_a_mistake_leaves_nothing_behind(drover: Drover, tmp_path: Path) -> None:
    file = tmp_path / "docker-compose.yml"
    file.write_text("version: '2'\nservices:\n  web:\n    imagee: nginx\n    ports: [nonsense]\n")
    done = drover("up", "-s", "broken", "-d")
    assert done.returncode == 1
    assert "docker-compose.yml:4" in done.stderr
    assert "docker-compose.yml:5" in done.stderr
    file.write_text("version: '2'\nservices: {web: {image: nginx, external_links: ['a/b'], secrets: [none]}}\n")
    assert drover("up", "-s", "broken", "-d").returncode == 1
    assert drover("inspect", "--type", "stack", "broken").returncode == 3


def test_stacks_that_the_server_deploys(drover: Drover, hosts: list[str], tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("version: '2'\nservices: {web: {image: 'nginx:1.25'}}\n")
    succeed(drover("stacks", "create", "--wait", "--timeout", "60", "remote"))
    succeed(drover("wait", "--timeout", "60", "remote/web"))
    succeed(drover("rm", "--wait", "remote"))


def test_small_commands(drover: Drover, hosts: list[str], url: str) -> None:
    assert "Default" in succeed(drover("env"))
    assert f"{url}/v" in succeed(drover("hosts", "register-command"))
    succeed(drover("volumes", "create", "--driver", "local", "data"))
    assert "data" in rows(drover, "volumes")
    succeed(drover("volumes", "rm", "data"))
    succeed(drover("secrets", "create", "password", "-", stdin="hunter2"))
    shown = succeed(drover("inspect", "--type", "secret", "password"))
    assert "hunter2" not in shown
    succeed(drover("secrets", "rm", "password"))
    assert json.loads(succeed(drover("inspect", hosts[0])))["id"] == hosts[0]


def test_events_of_a_new_stack(drover: Drover, url: str, tmp_path: Path) -> None:
    environ = clean_environ(DROVER_URL=url, DROVER_CLIENT_CONFIG=str(tmp_path / "cli.json"))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command("--debug", "events"), env=environ, text=True, **pipes) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            while "< 101" not in process.stderr.readline():
                assert process.poll() is None
            succeed(drover("stacks", "create", "--empty", "watched"))
            while "[watched]" not in (line := process.stdout.readline()):
                assert process.poll() is None
            assert line.startswith("stack 1st")
        finally:
            process.terminate()
    succeed(drover("rm", "watched"))
