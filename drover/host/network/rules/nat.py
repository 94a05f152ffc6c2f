"""Forwarding between bridge and world, addresses of what leaves, and the guard of the host's loopback."""

from __future__ import annotations

from collections.abc import Iterable

from drover.host.network.names import DISABLE_HOST_NAT_SET
from drover.host.network.rules.networks import BridgedNetwork
from drover.host.network.rules.ports import MARK
from drover.host.network.rules.tables import (
    FORWARD,
    HOSTPORTS_POSTROUTING,
    INPUT,
    NAT_POSTROUTING,
    NETWORK_POLICY,
    OUTPUT,
    PREROUTING,
    RAW_PREROUTING,
    Hook,
    Owner,
)

KUBERNETES_MARK = "0x4000"


def forward_rules(local: Iterable[BridgedNetwork], *, docker_bridge: str) -> Owner:
    rules = [f"-m mark --mark {MARK:#x} -j ACCEPT", f"-m mark --mark {KUBERNETES_MARK} -j ACCEPT"]
    for each in local:
        if not each.bridge or not each.subnet:
            continue
        rules.append(f"-d {each.subnet} -o {each.bridge} -j ACCEPT")
        if each.bridge != docker_bridge:
            # For its own bridge Docker has these rules itself.
            rules += [
                f"-o {each.bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                f"-i {each.bridge} ! -o {each.bridge} -j ACCEPT",
                f"-i {each.bridge} -o {each.bridge} -j ACCEPT",
            ]
    return Owner("forward", {"filter": {FORWARD: rules}})


def nat_rules(networks: Iterable[BridgedNetwork], *, metadata_address: str) -> Owner:
    rules: list[str] = []
    for each in networks:
        if not (each.host_nat and each.bridge and each.subnet):
            continue
        leaving = f"-s {each.subnet} -m set ! --match-set {DISABLE_HOST_NAT_SET} dst ! -o {each.bridge} -j MASQUERADE"
        rules += [
            # The metadata service tells containers apart by their own address.
            f"-d {metadata_address} -s {each.subnet} -j ACCEPT",
            # High ports: IKE leaves with another port than 500 and so always uses NAT traversal.
            f"-p tcp {leaving} --to-ports 1024-65535",
            f"-p udp {leaving} --to-ports 1024-65535",
            leaving,
            f"-o {each.bridge} -m addrtype --src-type LOCAL --dst-type UNICAST -j MASQUERADE",
        ]
    return Owner("host-nat", {"nat": {NAT_POSTROUTING: rules}})


def guard_rules(networks: Iterable[BridgedNetwork]) -> Owner:
    """`route_localnet` opens 127.0.0.0/8 to the bridge's neighbours: only what was translated may use it."""
    bridges = sorted({each.bridge for each in networks if each.bridge})
    rules = [f"-i {bridge} -d 127.0.0.0/8 -m conntrack ! --ctstate DNAT -j DROP" for bridge in bridges]
    return Owner("guard", {"filter": {INPUT: rules}})


def hooks(local: tuple[BridgedNetwork, ...], *, policy: tuple[Hook, ...] = ()) -> tuple[Hook, ...]:
    """In the order in which they stand; `policy` are further hooks before CATTLE_FORWARD."""
    policies: tuple[Hook, ...] = ()
    if len(local) == 1 and local[0].subnet:
        subnet = local[0].subnet
        policies = (Hook("filter", "FORWARD", f"-s {subnet} -d {subnet} -j {NETWORK_POLICY}"),)
    return (
        Hook("raw", "PREROUTING", f"-m addrtype --dst-type LOCAL -j {RAW_PREROUTING}"),
        Hook("nat", "PREROUTING", f"-m addrtype --dst-type LOCAL -j {PREROUTING}"),
        Hook("nat", "OUTPUT", f"-m addrtype --dst-type LOCAL -j {OUTPUT}"),
        Hook("nat", "POSTROUTING", f"-j {NAT_POSTROUTING}"),
        Hook("nat", "POSTROUTING", f"-j {HOSTPORTS_POSTROUTING}"),
        *policies,
        *policy,
        Hook("filter", "FORWARD", f"-j {FORWARD}"),
        Hook("filter", "INPUT", f"-j {INPUT}"),
    )
