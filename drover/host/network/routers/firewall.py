"""The packet rules of a router, in its own network namespace.

The gateway address exists on every host: a packet that a host itself sends to a remote container carries it, and the
answer would never leave the other host. So such packets get the router's own address as source. And TCP connections
through the tunnel agree on segments that fit into it, whatever size their ends believe in.
"""

from __future__ import annotations

from dataclasses import dataclass

from drover.host.network.routers.iproute import checked, run


@dataclass(frozen=True, slots=True)
class Rule:
    table: str
    chain: str
    match: tuple[str, ...]


def router_rules(*, gateway: str, address: str, out: str) -> tuple[Rule, ...]:
    """What a router with this managed address needs whose tunnel packets leave by the interface ``out``."""
    source = ("-s", f"{gateway}/32", "-o", out, "-j", "SNAT", "--to-source", address)
    segments = ("-p", "tcp", "-m", "tcp", "--tcp-flags", "SYN,RST", "SYN", "-j", "TCPMSS", "--clamp-mss-to-pmtu")
    return (Rule("nat", "POSTROUTING", source), Rule("mangle", "FORWARD", segments))


def checksum_rules(*, interface: str, port: int) -> tuple[Rule, ...]:
    """Fill in the checksum inside a VXLAN packet before the host rewrites its addresses.

    As long as the inner checksum is open, address translation takes the outer one for open too, and spoils it. Large
    packets are not touched by this rule, and need not be: their checksums are all made when they are cut.
    """
    match = ("-o", interface, "-p", "udp", "-m", "udp", "--dport", str(port))
    return (Rule("mangle", "POSTROUTING", (*match, "-j", "CHECKSUM", "--checksum-fill")),)


def guard_rules(*, interface: str, port: int, kernel: bool) -> tuple[Rule, ...]:
    """VXLAN that is to be encrypted neither leaves in the clear nor is believed when it comes so.

    In user space whatever is encrypted passes another interface; in the kernel a policy has applied to it.
    """
    clear = ("-p", "udp", "-m", "udp", "--dport", str(port))
    unless = {
        "in": ("-m", "policy", "--dir", "in", "--pol", "none"),
        "out": ("-m", "policy", "--dir", "out", "--pol", "none"),
    }
    return (
        Rule("filter", "OUTPUT", ("-o", interface, *clear, *(unless["out"] if kernel else ()), "-j", "DROP")),
        Rule("filter", "INPUT", ("-i", interface, *clear, *(unless["in"] if kernel else ()), "-j", "DROP")),
    )


async def ensure_rules(rules: tuple[Rule, ...]) -> int:
    """Insert the rules that are missing; how many were. Raises KernelRefused."""
    added = 0
    for rule in rules:
        base = ("iptables", "--wait", "10", "-t", rule.table)
        if (await run(*base, "-C", rule.chain, *rule.match)).status != 0:
            await checked(*base, "-I", rule.chain, "1", *rule.match)
            added += 1
    return added
