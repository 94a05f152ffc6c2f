"""Which hosts check a container: a pure function. Source of the rules: Rancher 1.6."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from drover.server.store import Record

WANTED = 3
SKIP_LABEL = "io.rancher.host.healthcheck.deploy_strategy"
_SERVING = frozenset({"activating", "active", "updating-active"})
_CONNECTED = frozenset({"", "active", "activating", "reconnected", "finishing-reconnect"})


def connected(host: Record) -> bool:
    """Whether the agent of the host is there, so that a checker on it can be expected to work."""
    return str(host["agentState"] or "") in _CONNECTED


def skips(host: Record) -> bool:
    """Whether the user asked to leave this host out."""
    return str((host["labels"] or {}).get(SKIP_LABEL) or "").strip().lower() == "skip"


def qualifies(host: Record) -> bool:
    return host.state in _SERVING and connected(host) and not skips(host)


def choose(
    own_host: Record | None, hosts: Iterable[Record], present: Sequence[int], *, rng: random.Random
) -> list[Record]:
    """The hosts to add to those that check a container already (``present``, ids).

    The container's own host comes first, also when it takes no new containers at the moment: it is the one that
    reaches the container when the network between hosts does not.
    """
    candidates = [host for host in hosts if qualifies(host)]
    eligible = {host.id for host in candidates}
    own = own_host if own_host is not None and connected(own_host) and not skips(own_host) else None
    if own is not None:
        eligible.add(own.id)
    missing = WANTED - sum(host_id in eligible for host_id in set(present))
    if missing <= 0:
        return []
    others = [host for host in candidates if host.id not in present and (own is None or host.id != own.id)]
    rng.shuffle(others)
    first = [own] if own is not None and own.id not in present else []
    return [*first, *others][:missing]
