"""A host that leaves the environment is as it was before."""

from __future__ import annotations

import json
import sys
import time
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
        assert state_of(host) != before
    command = [sys.executable, "-m", "drover", "network-manager", "--cleanup", "--docker-url", host.socket]
    host.run(*command, "--state-dir", str(manager.state))
    assert state_of(host) == before
    assert not (manager.state / "cni").exists()
    # Again: nothing to do is no error.
    host.run(*command, "--state-dir", str(manager.state))


def test_a_host_that_was_removed_is_cleaned_after_a_while(host: LonelyHost):
    before = state_of(host)
    with ManagerProcess(host, removal_grace=2.0) as manager:
        web = make_busy(host, manager)
        manager.show(frame(ENVIRONMENT, revision=3))
        eventually(lambda: state_of(host) == before, what="everything is taken away")
        # An environment that has the host again has its rules again.
        manager.show(busy_world(web, 4))
        eventually(lambda: host.rules("CATTLE_PREROUTING"), what="the host came back")


def test_a_manager_that_is_stopped_on_a_removed_host_cleans_up_at_once(host: LonelyHost):
    before = state_of(host)
    with ManagerProcess(host, removal_grace=3600.0) as manager:
        make_busy(host, manager)
        manager.show(frame(ENVIRONMENT, revision=3))
        # The frame must have been read before the order to stop comes.
        manager.show(frame(ENVIRONMENT, network(), revision=4))
        time.sleep(0.3)
    assert state_of(host) == before


def test_a_short_absence_changes_nothing(host: LonelyHost):
    with ManagerProcess(host, removal_grace=30.0) as manager:
        web = make_busy(host, manager)
        before = state_of(host)
        manager.show(frame(ENVIRONMENT, revision=3))
        manager.show(frame(ENVIRONMENT, revision=4))
        manager.show(busy_world(web, 5))
        port_two = container("web1", "10.42.7.9", docker_id=web, ports=("0.0.0.0:8081:80/tcp",))
        assert {*state_of(host)["rules"]} == {*before["rules"]}
        manager.show(frame(*stock(port_two), revision=6))
        eventually(lambda: "8081" in "".join(host.rules("CATTLE_PREROUTING")))
