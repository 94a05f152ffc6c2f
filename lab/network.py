"""The lab's wires: one switch, a cable to each host, a cable to the machine itself.

The switch is a bridge in a network namespace of its own. Traffic between hosts therefore never meets the packet
filter of the machine (an engine there sets FORWARD to DROP and `bridge-nf-call-iptables` makes bridged traffic pass
it), and nothing in the machine's filter has to be changed or restored. Removing the namespaces removes everything.

    machine                    switch                      host1, host2, ...
    drl-<lab> 10.213.n.1  ---  uplink |bridge| host1  ---  eth0 10.213.n.11
"""

import contextlib
import fcntl
import ipaddress
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.command import in_namespace, run
from lab.errors import LabError
from lab.layout import HostLayout, LabLayout

_RANGE = ipaddress.IPv4Network("10.213.0.0/16")
_LOCK = Path("/run/drover-lab.lock")
_BRIDGE = "lab0"
_UPLINK = "uplink"


@dataclass(frozen=True, slots=True)
class Subnet:
    """The addresses of one lab: .1 is the machine, .11 the first host."""

    network: ipaddress.IPv4Network

    @property
    def prefix_length(self) -> int:
        return self.network.prefixlen

    @property
    def gateway(self) -> str:
        return str(self.network[1])

    def host(self, index: int) -> str:
        """Address of the host with this index, counted from 0."""
        return str(self.network[11 + index])


async def build_switch(layout: LabLayout) -> Subnet:
    """Make the switch, plug the machine into it, and return the addresses that this lab got."""
    with _one_at_a_time():
        subnet = await _free_subnet()
        switch = layout.switch_namespace
        await run("ip", "netns", "add", switch)
        await _batch(
            "link set lo up",
            f"link add {_BRIDGE} type bridge stp_state 0 forward_delay 0",
            f"link set {_BRIDGE} up",
            namespace=switch,
        )
        await _batch(
            f"link add {layout.root_interface} type veth peer name {_UPLINK} netns {switch}",
            f"address add {subnet.gateway}/{subnet.prefix_length} dev {layout.root_interface}",
            f"link set {layout.root_interface} up",
        )
        await _batch(f"link set {_UPLINK} master {_BRIDGE} up", namespace=switch)
    return subnet


async def plug_in(layout: LabLayout, host: HostLayout, address: str, subnet: Subnet) -> None:
    """Make the host's namespace and connect it to the switch."""
    await run("ip", "netns", "add", host.namespace)
    await _batch(
        f"link add {host.name} type veth peer name eth0 netns {host.namespace}",
        f"link set {host.name} master {_BRIDGE} up",
        namespace=layout.switch_namespace,
    )
    await _batch(
        "link set lo up",
        f"address add {address}/{subnet.prefix_length} dev eth0",
        "link set eth0 up",
        f"route add default via {subnet.gateway}",
        namespace=host.namespace,
    )


async def set_cable(layout: LabLayout, host: HostLayout, *, connected: bool) -> None:
    """Pull the host's cable out of the switch, or put it back; the host itself notices nothing but silence."""
    # The switch's side goes down, not the host's: addresses and routes inside the host stay as they are.
    port = ("nomaster", "down") if not connected else ("master", _BRIDGE, "up")
    await run(*in_namespace(layout.switch_namespace, "ip", "link", "set", host.name, *port))


def free_port(address: str, preferred: int) -> int:
    """`preferred`, or the next port up that nothing on this machine listens on, also not on all addresses."""
    for port in range(preferred, preferred + 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            probe.listen(1)
            return port
    raise LabError(f"ports {preferred} to {preferred + 99} are all in use")


def namespaces(layout: LabLayout) -> list[str]:
    """The lab's namespaces that exist now."""
    return sorted(entry.name for entry in Path("/run/netns").glob(f"{layout.namespace_prefix}*"))


async def remove(layout: LabLayout) -> None:
    """Take the wires down; what is already gone is no error."""
    if Path("/sys/class/net", layout.root_interface).exists():
        await run("ip", "link", "delete", layout.root_interface)
    for namespace in namespaces(layout):
        await _delete_namespace(namespace)


async def _delete_namespace(namespace: str) -> None:
    try:
        await run("ip", "netns", "delete", namespace)
    except LabError:
        # `ip netns add` makes the file first and mounts the namespace on it next: killed in between, it leaves a file.
        (Path("/run/netns") / namespace).unlink(missing_ok=True)


async def _free_subnet() -> Subnet:
    interfaces = json.loads(await run("ip", "-json", "address", "show"))
    routes = json.loads(await run("ip", "-json", "route", "show", "table", "all"))
    used = [
        ipaddress.IPv4Network(f"{address['local']}/{address['prefixlen']}", strict=False)
        for interface in interfaces
        for address in interface.get("addr_info", [])
        if address["family"] == "inet"
    ]
    used += [
        ipaddress.IPv4Network(route["dst"]) for route in routes if route["dst"] != "default" and ":" not in route["dst"]
    ]
    for candidate in _RANGE.subnets(new_prefix=24):
        if not any(candidate.overlaps(taken) for taken in used):
            return Subnet(candidate)
    raise LabError(f"no free network left in {_RANGE}: take labs down with `python -m lab down --name NAME`")


async def _batch(*commands: str, namespace: str | None = None) -> None:
    argv = ("ip", "-batch", "-")
    await run(
        *(in_namespace(namespace, *argv) if namespace else argv),
        stdin="".join(f"{command}\n" for command in commands).encode(),
    )


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two labs that start at once must not choose the same addresses."""
    descriptor = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
