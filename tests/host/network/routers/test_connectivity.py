"""Reachability of peers: counters, turns, verdicts, and the program between real namespaces."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from drover.client.world import Service
from drover.host.network.routers.connectivity import VERDICT_WANTED, ConnectivityCheck
from drover.host.network.routers.reachability import Reachability
from drover.host.network.routers.settings import ConnectivitySettings

from .test_overlay import LINK, change, host, loaded, router
from .underlay import FABRIC_ADDRESS, SERVICE, Node, WorldStream, environment, eventually, inside, underlay


def test_a_new_peer_is_out_of_reach_until_it_answers() -> None:
    peers = Reachability()
    peers.expect(["a"])
    assert peers.unreachable == ["a"]
    peers.note("a", answered=True)
    assert peers.unreachable == []


def test_it_takes_as_many_failures_as_there_were_successes() -> None:
    peers = Reachability()
    peers.expect(["a"])
    for _ in range(10):
        peers.note("a", answered=True)
    for _ in range(2):
        peers.note("a", answered=False)
    assert peers.unreachable == []
    peers.note("a", answered=False)
    assert peers.unreachable == ["a"]


def test_peers_take_turns_and_strangers_do_not_count() -> None:
    peers = Reachability()
    peers.expect(["a", "b", "c"])
    turns = [*peers.next(2), *peers.next(2), *peers.next(2)]
    assert sorted(turns) == ["a", "a", "b", "b", "c", "c"]
    peers.note("stranger", answered=True)
    peers.expect(["c"])
    assert peers.next(5) == ["c"]
    assert set(peers.counters) == {"c"}


def service(state: str = "active", wanted: object = "true") -> Service:
    return Service(uuid="svc", name="router", state=state, metadata={VERDICT_WANTED: wanted})


def check_of(*objects: object) -> ConnectivityCheck:
    check = ConnectivityCheck(ConnectivitySettings(), LINK)
    check.world, check.overlay = loaded(*objects)
    check.choose_peers()
    return check


@pytest.mark.parametrize(
    ("known", "good"),
    [
        (service(), False),
        (service(wanted=True), False),
        (service(wanted="false"), True),
        (service(state="upgrading"), True),
        (Service(uuid="svc", name="router", state="active"), True),
    ],
)
def test_a_verdict_is_given_where_it_is_wanted(known: Service, good: bool) -> None:
    assert check_of(known).good is good


def test_only_running_routers_of_active_hosts_are_asked() -> None:
    check = check_of(service(), router(3, "10.42.0.7"))
    assert set(check.reachability.counters) == {"10.42.0.6", "10.42.0.7"}
    check.overlay.take(
        check.world, change(check.world, host(2, state="disconnected"), router(3, "10.42.0.7", state="stopping"))
    )
    check.choose_peers()
    assert check.reachability.counters == {}
    assert check.good


def asked(node: Node, path: str) -> str:
    """The answer of the check in a router's namespace."""
    with inside(node.router, lambda: socket.create_connection((node.router_ip, 80), timeout=60)) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = b""
        while chunk := client.recv(4096):
            answer += chunk
    return answer.decode()


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
async def test_routers_find_out_that_a_peer_is_gone(tmp_path: Path) -> None:
    with underlay(2, published=(4789,), container_mtu=1450) as hosts:
        objects = environment(hosts.nodes)
        wanting = [
            msgspec.structs.replace(each, metadata={VERDICT_WANTED: "true"})
            for each in objects
            if isinstance(each, Service) and each.uuid == SERVICE
        ]
        world = WorldStream([*objects, *wanting])
        first, second = hosts.nodes
        async with world.serve(hosts.fabric):
            for node in hosts.nodes:
                url = ("--metadata-url", f"http://{FABRIC_ADDRESS}/{node.uuid}")
                hosts.start(node, "vxlan", *url, log=tmp_path / "log")
                hosts.start(
                    node, "connectivity-check", *url, "--connectivity-check-interval", "200", log=tmp_path / "log"
                )

            def answers(node: Node, start: str) -> Callable[[], bool]:
                def look() -> bool:
                    try:
                        return asked(node, "/connectivity").startswith(start)
                    except OSError:
                        return False

                return look

            for node in hosts.nodes:
                await eventually(answers(node, "HTTP/1.0 200"), "the peer is reached")
            assert asked(first, "/ping").endswith("pong")
            second.in_router("ip", "link", "set", "vtep1042", "down")
            await eventually(answers(first, "HTTP/1.0 500"), "the peer is out of reach", seconds=30)
            world.put(msgspec.structs.replace(wanting[0], state="upgrading"))
            await eventually(answers(first, "HTTP/1.0 200"), "no verdict during an upgrade")
