"""Containers join their network on a real engine: before their program starts, after every kind of restart."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.host.network.lonely_host import CNI, IMAGE, LonelyHost, ManagerProcess, eventually, lonely_host

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
def host() -> Iterator[LonelyHost]:
    with lonely_host() as host:
        (host.folder / "cni" / "ipsec.d").mkdir(parents=True)
        (host.folder / "cni" / "ipsec.d" / "10-rancher.conf").write_text(json.dumps(CNI))
        yield host


@pytest.fixture(scope="module")
def manager(host: LonelyHost) -> Iterator[ManagerProcess]:
    with ManagerProcess(host) as manager:
        yield manager


def test_the_program_starts_with_interface_route_and_resolver(host: LonelyHost, manager: ManagerProcess):
    script = "ip addr show eth0; ip route; cat /etc/resolv.conf; sleep 1000"
    container = host.start("10.42.7.9", "sh", "-c", script)
    assert manager.attached(container)["ip4"] == {
        "ip": "10.42.7.9/16",
        "gateway": "10.42.0.1",
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.42.0.1"}],
    }
    seen = eventually(lambda: "169.254" in (text := host.docker("logs", container)) and text)
    assert "inet 10.42.7.9/16" in seen
    assert "link/ether 02:00:01:00:00:09" in seen
    assert "mtu 1402" in seen
    assert "default via 10.42.0.1 dev eth0" in seen
    assert "search web.shop.rancher.internal shop.rancher.internal rancher.internal" in seen
    assert seen.count("\nnameserver") == 1
    hosts = host.docker("exec", container, "cat", "/etc/hosts")
    hostname = host.inspect(container)["Config"]["Hostname"]
    assert f"10.42.7.9\t{hostname}" in hosts
    bridge = host.run("ip", "-o", "-4", "addr", "show", "docker0")
    assert "10.42.0.1/16" in bridge
    assert "172.17.0.1/16" in bridge
    assert f"vethr{container[:10]}" in host.run("bridge", "link")


def test_containers_of_a_host_reach_each_other_and_the_gateway(host: LonelyHost, manager: ManagerProcess):
    container = host.start("10.42.7.10", mtu="0")
    other = host.start("10.42.7.11")
    manager.attached(container)
    manager.attached(other)
    assert "mtu 1500" in host.docker("exec", container, "ip", "link", "show", "eth0")
    host.docker("exec", container, "ping", "-c1", "-W2", "10.42.0.1")
    host.docker("exec", container, "ping", "-c1", "-W2", "10.42.7.11")
    host.run("busybox", "ping", "-c1", "-W2", "10.42.7.10")


def test_a_restarted_container_is_attached_again(host: LonelyHost, manager: ManagerProcess):
    container = host.start("10.42.7.12")
    manager.attached(container)
    host.docker("restart", "--time", "0", container)
    assert manager.attached(container)["ip4"]["ip"] == "10.42.7.12/16"
    assert "10.42.7.12/16" in host.docker("exec", container, "ip", "addr")
    assert len(list((manager.state / "cni" / container).iterdir())) == 1


def test_a_removed_container_leaves_nothing(host: LonelyHost, manager: ManagerProcess):
    container = host.start("10.42.7.13")
    manager.attached(container)
    host.docker("rm", "--force", container)
    eventually(lambda: not (manager.state / "cni" / container).exists())
    eventually(lambda: f"vethr{container[:10]}" not in host.run("ip", "link"))


def test_a_stop_during_the_wait_is_quick(host: LonelyHost, manager: ManagerProcess):
    container = host.docker(
        *("run", "--detach", "--network", "none", "--volume", f"{host.folder}/wait:/.r:ro"),
        *("--entrypoint", "/.r/r", IMAGE, "echo", "started"),
    )
    host.docker("stop", "--time", "30", container)
    assert host.inspect(container)["State"]["ExitCode"] == 143
    assert host.docker("logs", container) == ""


def test_a_program_that_does_not_exist_is_said(host: LonelyHost, manager: ManagerProcess):
    container = host.start("10.42.7.14", "/no/such/program")
    eventually(lambda: not host.inspect(container)["State"]["Running"])
    assert host.inspect(container)["State"]["ExitCode"] == 1


def test_a_read_only_container_gets_its_resolver_too(host: LonelyHost, manager: ManagerProcess):
    container = host.start("10.42.7.15", options=("--read-only",))
    manager.attached(container)
    assert "nameserver 169.254.169.250" in host.docker("exec", container, "cat", "/etc/resolv.conf")


def test_a_users_own_resolver_file_is_left_alone(host: LonelyHost, manager: ManagerProcess):
    own = host.folder / "resolv.conf"
    own.write_text("nameserver 192.0.2.1\n")
    container = host.start("10.42.7.16", options=("--volume", f"{own}:/etc/resolv.conf"))
    manager.attached(container)
    assert own.read_text() == "nameserver 192.0.2.1\n"


def test_a_container_on_dockers_bridge_gets_a_second_address(host: LonelyHost, manager: ManagerProcess):
    container = host.docker(
        *("run", "--detach", "--label=io.rancher.container.network=true"),
        *(
            "--label=io.rancher.container.ip=10.42.7.17/16",
            "--label=io.rancher.container.mac_address=02:00:01:00:00:11",
        ),
        *("--label=io.rancher.cni.network=ipsec", IMAGE),
    )
    manager.attached(container)
    addresses = host.docker("exec", container, "ip", "addr", "show", "eth0")
    assert "10.42.7.17/16" in addresses
    assert "172.17." in addresses
    assert "default via 172.17.0.1" in host.docker("exec", container, "ip", "route")


def test_a_restart_of_the_manager_detaches_nothing_and_misses_nothing(host: LonelyHost, manager: ManagerProcess):
    before = host.start("10.42.7.18")
    manager.attached(before)
    manager.stop()
    assert "10.42.7.18/16" in host.docker("exec", before, "ip", "addr")
    meanwhile = host.start("10.42.7.19")
    with ManagerProcess(host) as again:
        again.attached(meanwhile)
        assert again.attached(before)["ip4"]["ip"] == "10.42.7.18/16"
        host.run("busybox", "ping", "-c1", "-W2", "10.42.7.18")
        hosts = host.docker("exec", before, "cat", "/etc/hosts")
        assert hosts.count("10.42.7.18") == 1
