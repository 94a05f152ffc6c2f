"""The reconcilers against a real kernel, in a network namespace of their own."""

import array
import asyncio
import fcntl
import os
import secrets
import socket
import struct
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from drover.host.network.routers.devices import (
    Ipv4,
    answer_for_remote_addresses,
    read_own_link,
    set_checksum_offload,
    set_ipv4,
)
from drover.host.network.routers.firewall import checksum_rules, ensure_rules, guard_rules, router_rules
from drover.host.network.routers.forwarding import Forwarding
from drover.host.network.routers.iproute import KernelRefused, batch, checked, query, run
from drover.host.network.routers.vtep import Device, Vtep

from .underlay import inside, sh

T = TypeVar("T")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

DEVICE = Device(name="vtep1042", vni=1042, port=4789, mac="0e:00:0a:2a:00:05", mtu=1450)
MAC = "0e:00:0a:2a:00:06"
Run = Callable[[Coroutine[Any, Any, T]], T]


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"drvt-{secrets.token_hex(3)}"
    sh("ip", "netns", "add", name)
    try:
        sh("ip", "-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", "far")
        for command in ("link set eth0 up", "link set far up", "address add 10.42.0.5/16 dev eth0"):
            sh("ip", "-n", name, *command.split())
        sh("ip", "-n", name, "route", "add", "default", "via", "10.42.0.1")
        yield name
    finally:
        sh("ip", "netns", "del", name)


@pytest.fixture
def within(namespace: str) -> Run[Any]:
    """Runs a coroutine, and the programs it starts, in the namespace."""
    return lambda work: inside(namespace, lambda: asyncio.run(work))


def test_the_own_link_is_read_as_it_is(namespace: str, within: Run[Any]) -> None:
    link = within(read_own_link("eth0"))
    assert (link.address, str(link.interface), link.gateway, link.mtu) == (
        "10.42.0.5",
        "10.42.0.5/16",
        "10.42.0.1",
        1500,
    )
    assert link.mac in sh("ip", "-n", namespace, "link", "show", "eth0")
    assert within(read_own_link("none")) is None
    sh("ip", "-n", namespace, "link", "set", "eth0", "down")
    assert within(read_own_link("eth0")) is None


def test_switches_are_set_without_proc_sys(namespace: str, within: Run[Any]) -> None:
    within(answer_for_remote_addresses("eth0"))
    shown = sh("ip", "-n", namespace, "-4", "netconf", "show", "dev", "eth0")
    assert "forwarding on" in shown
    assert "proxy_neigh on" in shown
    assert "proxy_delay 0" in sh("ip", "-n", namespace, "ntable", "show", "dev", "eth0", "name", "arp_cache")
    with pytest.raises(KernelRefused, match="no interface none"):
        inside(namespace, lambda: set_ipv4("none", {Ipv4.FORWARDING: 1}))


def test_checksum_offload_is_switched_off_and_on(namespace: str) -> None:
    for on in (False, False, True, True):
        inside(namespace, lambda on=on: set_checksum_offload("eth0", on=on))
        assert inside(namespace, lambda: _offloads("eth0")) is on
    with pytest.raises(KernelRefused, match="checksum"):
        inside(namespace, lambda: set_checksum_offload("none", on=True))


def _offloads(name: str) -> bool:
    """Whether an interface lets others fill in checksums (ETHTOOL_GTXCSUM)."""
    value = array.array("I", [0x16, 0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8946, struct.pack("16sP", name.encode(), value.buffer_info()[0]))
    return bool(value[1])


def test_failed_lines_of_a_batch_stop_no_others(within: Run[Any]) -> None:
    lines = ["route add 10.1.0.1/32 dev eth0", "route del 10.9.9.9/32 dev eth0", "route add 10.1.0.2/32 dev eth0"]
    failed = within(batch("ip", lines))
    assert len(failed) == 1
    assert failed[0].startswith("route del 10.9.9.9/32 dev eth0: ")
    assert {"10.1.0.1", "10.1.0.2"} <= {row["dst"] for row in within(query("ip", "-json", "route", "show"))}


def test_programs_that_are_missing_or_fail_say_so(within: Run[Any]) -> None:
    with pytest.raises(KernelRefused, match="not installed"):
        within(run("drover-no-such-program"))
    with pytest.raises(KernelRefused, match="no-such-device"):
        within(checked("ip", "link", "del", "no-such-device"))
    assert within(query("ip", "-json", "link", "show", "dev", "no-such-device")) == []


def test_a_device_is_made_mended_and_replaced(namespace: str, within: Run[Any]) -> None:
    def index() -> str:
        return sh("ip", "-n", namespace, "-oneline", "link", "show", "vtep1042").partition(":")[0]

    async def ensure(device: Device) -> None:
        await Vtep(device).ensure_device()

    within(ensure(DEVICE))
    first = index()
    within(ensure(DEVICE))
    within(ensure(replace(DEVICE, mtu=1400)))
    assert index() == first, "what can be changed in place is"
    assert "mtu 1400" in sh("ip", "-n", namespace, "link", "show", "vtep1042")
    within(ensure(replace(DEVICE, vni=7)))
    assert "vxlan id 7" in sh("ip", "-n", namespace, "-details", "link", "show", "vtep1042")


def test_tables_are_compared_with_what_is_there(namespace: str, within: Run[Any]) -> None:
    wanted = Forwarding(
        {"10.42.1.1": "main", "10.42.0.6": "1042"}, {"10.42.1.1": MAC, "10.42.0.6": MAC}, {MAC: "192.0.2.2"}
    )

    async def work() -> list[int]:
        vtep = Vtep(DEVICE)
        await vtep.ensure_device()
        counts = [await vtep.apply_all(wanted), await vtep.apply_all(wanted)]
        part = Forwarding({"10.42.1.2": "main"}, {"10.42.1.2": MAC})
        counts.append(await vtep.apply_some(["10.42.1.2", "10.42.1.1"], part))
        await checked("ip", "route", "add", "10.42.7.7/32", "dev", "vtep1042")
        await checked("bridge", "fdb", "del", MAC, "dev", "vtep1042", "self")
        counts.append(await vtep.apply_all(vtep.known))
        counts.append(await vtep.apply_all(vtep.known))
        counts.append(await vtep.apply_all(Forwarding()))
        return counts

    assert within(work()) == [5, 0, 4, 2, 0, 5]
    assert sh("ip", "-n", namespace, "route", "show", "dev", "vtep1042") == ""


def test_a_refused_change_makes_a_full_pass_due(within: Run[Any]) -> None:
    async def work() -> tuple[bool, bool]:
        vtep = Vtep(DEVICE)
        await vtep.ensure_device()
        await vtep.apply_all(Forwarding())
        await vtep.apply_some(["10.42.1.1"], Forwarding({"10.42.1.1": "no-such-table"}, {"10.42.1.1": MAC}))
        refused = vtep.settled
        await vtep.apply_all(Forwarding())
        return refused, vtep.settled

    assert within(work()) == (False, True)


def test_rules_are_added_once(namespace: str, within: Run[Any]) -> None:
    rules = (
        *router_rules(gateway="10.42.0.1", address="10.42.0.5", out="vtep1042"),
        *guard_rules(interface="eth0", port=4789, kernel=False),
        *checksum_rules(interface="eth0", port=4789),
    )
    assert within(ensure_rules(rules)) == 5
    assert within(ensure_rules(rules)) == 0
    saved = sh("ip", "netns", "exec", namespace, "iptables-save")
    assert "-s 10.42.0.1/32 -o vtep1042 -j SNAT --to-source 10.42.0.5" in saved
    assert "--clamp-mss-to-pmtu" in saved
    assert "-o eth0 -p udp -m udp --dport 4789 -j DROP" in saved
