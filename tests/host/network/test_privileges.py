"""The manager in a real container, with four capabilities instead of all: everything it does must work there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.host.network.lonely_host import LonelyHost, ManagerProcess, eventually, lonely_host
from tests.host.network.worlds import container, frame, stock

pytestmark = [pytest.mark.docker, pytest.mark.slow]

SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.ipv4.conf.docker0.route_localnet": "1",
}


@pytest.fixture(scope="module")
def host() -> Iterator[LonelyHost]:
    with lonely_host() as host:
        yield host


@pytest.fixture(scope="module")
def manager(host: LonelyHost) -> Iterator[ManagerProcess]:
    for name in SYSCTLS:
        host.run("sysctl", "-w", f"{name}=0")
    with ManagerProcess(host, contained=True) as manager:
        manager.show(frame(*stock()))
        yield manager


def test_kernel_settings_of_the_host_are_made(host: LonelyHost, manager: ManagerProcess):
    def settings() -> dict[str, str]:
        return {name: host.run("sysctl", "-n", name).strip() for name in SYSCTLS}

    eventually(lambda: settings() == SYSCTLS, what=f"settings: {settings()} {manager.log()}")


def test_containers_are_attached_and_published(host: LonelyHost, manager: ManagerProcess):
    server = host.start("10.42.7.9", "sh", "-c", "while true; do echo served | nc -l -p 80; done")
    manager.attached(server)
    assert "nameserver 169.254.169.250" in host.docker("exec", server, "cat", "/etc/resolv.conf")
    manager.show(
        frame(*stock(container("web", "10.42.7.9", docker_id=server, ports=("0.0.0.0:8080:80/tcp",))), revision=2)
    )
    eventually(
        lambda: "served" in host.run("sh", "-c", "busybox nc -w 2 127.0.0.1 8080", check=False),
        what=f"the port answers: {manager.log()}",
    )


def test_a_read_only_container_gets_its_resolver(host: LonelyHost, manager: ManagerProcess):
    reader = host.start("10.42.7.15", options=("--read-only",))
    manager.attached(reader)
    assert "nameserver 169.254.169.250" in host.docker("exec", reader, "cat", "/etc/resolv.conf")
    assert not any("container.file.unchanged" in line for line in manager.lines)
