"""Tracked connections after a host port changed: only those that would keep going to the wrong place are forgotten.

A connection stays with the target it was translated to. When a port gets another container, what still goes to the
old one is deleted. When a UDP port is published for the first time, peers that kept sending have connections without
any translation, which would live for ever: those are deleted as well. Nothing else is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from drover.host.network.commands import CommandError, run
from drover.host.network.rules.ports import ANY, HostPort

log = structlog.get_logger(__name__)

NOTHING_FOUND = "0 flow entries"


@dataclass(frozen=True, slots=True)
class Stale:
    """Connections to `address` (empty: any) and `port` of this host that are answered by `answered_by`."""

    protocol: str
    address: str
    port: int
    answered_by: str

    def arguments(self) -> tuple[str, ...]:
        destination = ("--orig-dst", self.address) if self.address else ()
        return ("-p", self.protocol, *destination, "--dport", str(self.port), "--reply-src", self.answered_by)


def stale_connections(
    before: Iterable[HostPort], now: Iterable[HostPort], *, host_addresses: Sequence[str], first: bool
) -> list[Stale]:
    """What to forget after the ports changed. `first`: nobody knows what was before, so only new UDP ports count."""
    old = {each.claim: each for each in before}
    new = {each.claim: each for each in now}
    found: list[Stale] = []
    for claim, port in old.items():
        successor = new.get(claim)
        if successor is None or successor.target != port.target:
            found.append(Stale(port.protocol, _specific(port.address), port.port, port.target))
    for claim, port in new.items():
        if port.protocol == "udp" and (first or claim not in old):
            addresses = host_addresses if port.address == ANY else [port.address]
            found += [Stale(port.protocol, address, port.port, address) for address in addresses]
    return found


async def forget(stale: Iterable[Stale]) -> None:
    """Deletes the entries. A failure is logged: rules are right without this too, only old connections are not."""
    for each in stale:
        try:
            await run("conntrack", "-D", *each.arguments())
        except CommandError as error:
            if NOTHING_FOUND not in str(error):
                log.warning("conntrack.failed", error=str(error))
                return
            continue
        log.info("conntrack.forgotten", port=each.port, protocol=each.protocol, answered_by=each.answered_by)


def _specific(address: str) -> str:
    return "" if address == ANY else address
