"""Containers that exist twice: after a crash in the middle of a start, the engine may have two of one instance.

They have one address, so the one that the environment does not know must go. That is decided on positive evidence
alone: the engine lists both, the environment names one of them, and it was so the last time too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from drover.client.world import World
from drover.host.network.docker import Listed
from drover.host.network.names import LABEL_METADATA, LABEL_STACK_SERVICE, LABEL_UUID


class Reaper:
    """Remembers what was superfluous the last time."""

    def __init__(self) -> None:
        self._suspects: set[str] = set()

    def condemned(self, world: World, listed: Iterable[Listed]) -> list[str]:
        """Docker ids of containers to remove."""
        suspects = superfluous(world, listed)
        again, self._suspects = suspects & self._suspects, suspects
        return sorted(again)


def superfluous(world: World, listed: Iterable[Listed]) -> set[str]:
    by_uuid: defaultdict[str, set[str]] = defaultdict(set)
    for each in listed:
        if uuid := (each.labels or {}).get(LABEL_UUID):
            by_uuid[uuid].add(each.id)
    found: set[str] = set()
    for uuid, ids in by_uuid.items():
        known = world.containers.get(uuid)
        if known is not None and known.external_id in ids and known.host_uuid == world.host:
            found |= ids - {known.external_id}
    return found


def stale_metadata(world: World, listed: Iterable[Listed]) -> list[str]:
    """Running metadata containers that the environment no longer has, where it has a newer one of the same service.

    Both would answer for the metadata address.
    """
    groups: defaultdict[str, list[Listed]] = defaultdict(list)
    for each in listed:
        labels = each.labels or {}
        if each.running and labels.get(LABEL_METADATA) == "true" and labels.get(LABEL_STACK_SERVICE):
            groups[labels[LABEL_STACK_SERVICE]].append(each)
    found: list[str] = []
    for group in groups.values():
        newest = max(group, key=lambda each: each.created)
        if _known(world, newest):
            found += [each.id for each in group if each is not newest and not _known(world, each)]
    return sorted(found)


def _known(world: World, listed: Listed) -> bool:
    return (listed.labels or {}).get(LABEL_UUID, "") in world.containers
