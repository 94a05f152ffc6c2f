"""A tunnel is proven again, on another pre-shared key, without the loss of a packet.

charon can do that by itself (make-before-break), but then what the other end already sends through the new tunnel
meets an end that does not have it yet, and the old tunnel is taken down while packets are under way in it. So it is
done step by step: a second tunnel is made beside the first, what comes through it too early is held back (see `hold`),
and the first one is taken down when both ends have long ceased to use it. Of two associations with the same selectors
both send through the younger.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from drover.host.network.routers.connections import Datapath, Ends, tunnel_child
from drover.host.network.routers.hold import held_back
from drover.host.network.routers.vici_client import CharonRefused, Section, Vici, connect

log = structlog.get_logger(__name__)

ATTEMPT_SECONDS = 20
SETTLE_SECONDS = 2.0
"""How long the first tunnel still receives."""


async def second_tunnel(vici: Vici, ends: Ends, datapath: Datapath) -> list[str]:
    """Make the tunnel anew, one peer at a time; the numbers of the associations that are to be ended (`end_later`).

    Raises CharonRefused, after which the first tunnel stands as before, KernelRefused or TimeoutError.
    """
    if datapath is Datapath.KERNEL:
        # There the routers' policies belong to both, and charon's own way has been left as it is.
        await vici.request("rekey", {"ike": ends.name, "reauth": "yes"})
        return []
    old = await _associations(vici, ends)
    message = {"ike": ends.name, "child": tunnel_child(ends.peer_host), "timeout": str(ATTEMPT_SECONDS * 1000)}
    async with held_back(ends.peer_host, _indices(old)):
        await vici.stream("initiate", "control-log", message, timeout=ATTEMPT_SECONDS + 5)
    return [str(association["uniqueid"]) for association in old]


async def end_later(socket: Path, numbers: list[str]) -> None:
    """End associations that nothing is sent through any more, once nothing is under way in them either."""
    if not numbers:
        return
    await asyncio.sleep(SETTLE_SECONDS)
    async with connect(socket) as vici:
        for number in numbers:
            try:
                await vici.request("terminate", {"ike-id": number, "timeout": "2000", "force": "yes"})
            except CharonRefused as error:
                log.debug("charon.nothing-to-do", command="terminate", number=number, reason=str(error))


async def _associations(vici: Vici, ends: Ends) -> list[Section]:
    events = await vici.stream("list-sas", "list-sa", {"ike": ends.name})
    return [association for event in events for association in event.values()]


def _indices(associations: list[Section]) -> set[int]:
    """The indices (SPI) under which this end receives."""
    children = [child for each in associations for child in each.get("child-sas", {}).values()]
    return {int(child["spi-in"], 16) for child in children if "spi-in" in child}
