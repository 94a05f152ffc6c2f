"""The slow repairs: each on real tables of the kernel, and what they leave alone."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator

import pytest

from drover.client.world import Container
from drover.host.network.docker import Listed
from drover.host.network.namespaces import inside_network
from drover.host.network.rules.ports import HostPort
from drover.host.network.sync.conntrack import Stale, stale_connections
from drover.host.network.sync.neighbours import correct_host, expected_neighbours
from drover.host.network.sync.reaper import Reaper, stale_metadata, superfluous
from drover.host.network.sync.veths import VethSweeper
from tests.host.network.worlds import container, router, stock, world

ROUTER = router(primary_mac_address="02:00:00:00:00:01", labels={"io.rancher.network.arpsync": "true"})


def port(target: str, *, number: int = 80, protocol: str = "tcp", address: str = "0.0.0.0") -> HostPort:
    return HostPort(address, number, protocol, target, 80, "docker0", "c")


# --- connections ------------------------------------------------------------------------------------------------------


def test_connections_to_the_former_container_are_forgotten() -> None:
    found = stale_connections([port("10.42.0.7")], [port("10.42.0.8")], host_addresses=["192.0.2.1"], first=False)
    assert found == [Stale("tcp", "", 80, "10.42.0.7")]
    assert found[0].arguments() == ("-p", "tcp", "--dport", "80", "--reply-src", "10.42.0.7")


def test_a_container_that_stays_keeps_its_connections() -> None:
    ports = [port("10.42.0.7"), port("10.42.0.9", number=81)]
    assert stale_connections(ports, ports[:1] + ports[1:], host_addresses=["192.0.2.1"], first=False) == []


def test_a_new_udp_port_frees_itself_of_untranslated_connections() -> None:
    new = port("10.42.0.7", number=500, protocol="udp")
    assert stale_connections([], [new], host_addresses=["192.0.2.1"], first=False) == [
        Stale("udp", "192.0.2.1", 500, "192.0.2.1")
    ]
    assert stale_connections([], [port("10.42.0.7")], host_addresses=["192.0.2.1"], first=True) == []


# --- neighbours -------------------------------------------------------------------------------------------------------


def seen(*containers: Container) -> dict[str, str]:
    objects = [each for each in stock(*containers) if not (isinstance(each, Container) and each.uuid == "router-h1")]
    return expected_neighbours(world(ROUTER, *objects))


def test_local_containers_have_their_own_mac_and_others_the_routers() -> None:
    local = container("a", "10.42.0.11", primary_mac_address="02:00:00:00:00:0A")
    remote = container("b", "10.42.0.12", host="h2", primary_mac_address="02:00:00:00:00:0b")
    stopped = container("c", "10.42.0.13", state="stopped", primary_mac_address="02:00:00:00:00:0c")
    assert seen(local, remote, stopped) == {
        "10.42.1.1": "02:00:00:00:00:01",
        "10.42.0.11": "02:00:00:00:00:0a",
        "10.42.0.12": "02:00:00:00:00:01",
    }


def test_without_a_router_that_asks_for_it_nothing_is_expected() -> None:
    assert (
        expected_neighbours(world(*stock(container("a", "10.42.0.11", primary_mac_address="02:00:00:00:00:0a")))) == {}
    )


# --- duplicates -------------------------------------------------------------------------------------------------------


def listed(docker_id: str, **labels: str) -> Listed:
    names = {"uuid": "io.rancher.container.uuid", "metadata": "io.rancher.container.agent_service.metadata"}
    return Listed(
        id=docker_id,
        state="running",
        created=int(docker_id, 16),
        labels={names.get(key, "io.rancher.stack_service.name"): value for key, value in labels.items()},
    )


def test_only_a_container_that_the_environment_contradicts_is_removed() -> None:
    known = world(*stock(container("u1", "10.42.0.11", docker_id="a1"), container("u2", "10.42.0.12", docker_id="b9")))
    containers = [listed("a1", uuid="u1"), listed("a2", uuid="u1"), listed("b1", uuid="u2"), listed("c1", uuid="u3")]
    # b1: the environment names one that the engine does not have. c1: the environment does not know it at all.
    assert superfluous(known, containers) == {"a2"}
    reaper = Reaper()
    assert reaper.condemned(known, containers) == []
    assert reaper.condemned(known, containers) == ["a2"]
    assert superfluous(world(), containers) == set()


def test_an_older_metadata_container_is_stopped_only_for_one_that_is_known() -> None:
    old = listed("1", uuid="old", metadata="true", service="network-services/metadata")
    new = listed("2", uuid="new", metadata="true", service="network-services/metadata")
    assert stale_metadata(world(*stock(container("new", "10.42.0.2"))), [old, new]) == ["1"]
    assert stale_metadata(world(*stock(container("old", "10.42.0.2"))), [old, new]) == []
    assert stale_metadata(world(*stock(container("old", "10.42.0.2"), container("new", "10.42.0.3"))), [old, new]) == []


# --- the kernel's tables ----------------------------------------------------------------------------------------------


@pytest.fixture
def namespace() -> Iterator[Callable[[str], str]]:
    """Runs `ip` commands in a network namespace of its own, which this thread is in as well."""
    name = f"drvt-{uuid.uuid4().hex[:8]}"
    made = [name]
    subprocess.run(["ip", "netns", "add", name], check=True)

    def ip(command: str) -> str:
        if command.startswith("netns add "):
            made.append(command.split()[-1])
            return subprocess.run(["ip", *command.split()], check=True, capture_output=True, text=True).stdout
        return subprocess.run(["ip", "-n", name, *command.split()], check=True, capture_output=True, text=True).stdout

    try:
        with inside_network(f"/run/netns/{name}"):
            yield ip
    finally:
        for each in made:
            subprocess.run(["ip", "netns", "del", each], check=False)


@pytest.mark.docker
def test_wrong_entries_are_corrected_and_right_ones_left(namespace: Callable[[str], str]) -> None:
    namespace("link add br0 type bridge")
    namespace("link set br0 up")
    namespace("addr add 10.42.0.1/16 dev br0")
    namespace("neigh add 10.42.0.11 lladdr 02:00:00:00:00:99 dev br0 nud stale")
    namespace("neigh add 10.42.0.12 lladdr 02:00:00:00:00:0b dev br0 nud stale")
    namespace("neigh add 10.42.0.13 lladdr 02:00:00:00:00:99 dev br0 nud permanent")
    expected = {
        f"10.42.0.{last}": f"02:00:00:00:00:0{mac}" for last, mac in ((11, "a"), (12, "b"), (13, "c"), (14, "d"))
    }
    assert correct_host(expected) == 1
    table = namespace("neigh show")
    assert "10.42.0.11 dev br0 lladdr 02:00:00:00:00:0a REACHABLE" in table
    assert "10.42.0.12 dev br0 lladdr 02:00:00:00:00:0b STALE" in table
    assert "10.42.0.13 dev br0 lladdr 02:00:00:00:00:99 PERMANENT" in table
    assert "10.42.0.14" not in table


@pytest.mark.docker
def test_a_cable_goes_when_nobody_lives_at_its_end_twice(namespace: Callable[[str], str]) -> None:
    namespace("link add br0 type bridge")
    abandoned, inhabited = f"drvt-{uuid.uuid4().hex[:8]}", f"drvt-{uuid.uuid4().hex[:8]}"
    for end, cable in ((abandoned, "vethraaaaaaaaaa"), (inhabited, "vethrbbbbbbbbbb"), (abandoned, "vethrcccccccccc")):
        if end not in subprocess.check_output(["ip", "netns", "list"], text=True):
            namespace(f"netns add {end}")
        namespace(f"link add {cable} type veth peer name p{cable[-1]} netns {end}")
        namespace(f"link set {cable} master br0")
    sleeper = subprocess.Popen(["nsenter", f"--net=/run/netns/{inhabited}", "sleep", "60"])
    try:
        sweeper = VethSweeper()
        running = ["c" * 64]
        assert sweeper.sweep(running) == []
        assert sweeper.sweep(running) == ["vethraaaaaaaaaa"]
    finally:
        sleeper.kill()
        sleeper.wait()
    links = namespace("link show")
    assert "vethrbbbbbbbbbb" in links
    assert "vethrcccccccccc" in links
