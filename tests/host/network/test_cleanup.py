"""A host that leaves the environment is as it was before."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from drover.client.world import Membership, Service, Stack
from tests.host.network.lonely_host import LonelyHost, ManagerProcess, eventually, lonely_host
from tests.host.network.worlds import ENVIRONMENT, container, frame, network, stock

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture
def host() -> Iterator[LonelyHost]:
    with lonely_host() as host:
        yield host


def state_of(host: LonelyHost) -> dict[str, list[str]]:
    """Rules, interfaces, addresses, routes and sets. Tables without rules are how the kernel says nothing."""
    rules: list[str] = []
    for backend in ("nft", "legacy"):
        rules += [line for line in host.run(f"iptables-{backend}-save").splitlines() if line.startswith("-A")]
        rules += [
            line.split()[0] for line in host.run(f"iptables-{backend}-save").splitlines() if line.startswith(":CATTLE")
        ]
    links = json.loads(host.run("ip", "-j", "link"))
    return {
        "rules": rules,
        "links": [f"{each['ifname']} {sorted(set(each['flags']) - {'NO-CARRIER', 'LOWER_UP'})}" for each in links],
        "addresses": [line.split()[3] for line in host.run("ip", "-4", "-o", "addr").splitlines()],
        "routes": sorted(line.replace("linkdown", "").strip() for line in host.run("ip", "route").splitlines()),
        "neighbours": [line for line in host.run("ip", "neigh").splitlines() if line.startswith("10.42.")],
        "sets": host.run("ipset", "list", "-name").split(),
        "loopback": [host.run("sysctl", "-n", "net.ipv4.conf.docker0.route_localnet").strip()],
    }


def busy_world(docker_id: str, revision: int = 1, **cni: object) -> bytes:
    """A published port and a policy."""
    return frame(
        *stock(
            Stack(uuid="shop", name="shop", environment_uuid="env"),
            Service(uuid="web", name="web", stack_uuid="shop", environment_uuid="env"),
            container(
                "web1",
                "10.42.7.9",
                docker_id=docker_id,
                ports=("0.0.0.0:8080:80/tcp",),
                memberships=(Membership(service_uuid="web", service_name="web"),),
            ),
            own=network(policy=[{"within": "stack", "action": "allow"}], action="deny", **cni),
        ),
        revision=revision,
    )


def make_busy(host: LonelyHost, manager: ManagerProcess, **cni: object) -> str:
    manager.show(frame(*stock(own=network(**cni))))
    web = host.start("10.42.7.9")
    manager.attached(web)
    manager.show(busy_world(web, 2, **cni))
    eventually(lambda: host.rules("CATTLE_NETWORK_POLICY") and host.rules("CATTLE_PREROUTING"), what=manager.log())
    return web


@pytest.mark.parametrize("bridge", ["docker0", "rancher0"])
def test_the_command_leaves_the_host_as_it_was(host: LonelyHost, bridge: str):
    before = state_of(host)
    with ManagerProcess(host) as manager:
        make_busy(host, manager, bridge=bridge)
        host.run(
            "ip", "neigh", "replace", "10.42.7.77", "lladdr", "02:00:00:00:00:01", "nud", "permanent", "dev", bridge
        )
        assert state_of(host) != before
    command = [sys.executable, "-m", "drover", "network-manager", "--cleanup", "--docker-url", host.socket]
    host.run(*command, "--state-dir", str(manager.state))
    assert state_of(host) == before
    assert not (manager.state / "cni").exists()
    # Again: nothing to do is no error.
    host.run(*command, "--state-dir", str(manager.state))


def test_an_environment_without_the_host_changes_nothing(host: LonelyHost):
    with ManagerProcess(host) as manager:
        web = make_busy(host, manager)
        before = state_of(host)
        manager.show(frame(ENVIRONMENT, revision=3))
        manager.show(frame(ENVIRONMENT, network(), revision=4))
        manager.show(busy_world(web, 5))
        port_two = container("web1", "10.42.7.9", docker_id=web, ports=("0.0.0.0:8081:80/tcp",))
        assert {*state_of(host)["rules"]} == {*before["rules"]}
        manager.show(frame(*stock(port_two), revision=6))
        eventually(lambda: "8081" in "".join(host.rules("CATTLE_PREROUTING")))
        manager.show(frame(ENVIRONMENT, revision=7))
        during = state_of(host)
    assert state_of(host) == during, "a manager that is stopped leaves everything as it is"
