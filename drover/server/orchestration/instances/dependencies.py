"""A container that shares another one's network or volumes starts after it, on its host."""

from __future__ import annotations

from dataclasses import dataclass

from drover.server.orchestration.context import Context
from drover.server.orchestration.instances import labels as names
from drover.server.orchestration.instances.errors import NotReady, StartFailed
from drover.server.store import Record

_WAIT_SECONDS = 30.0
_STARTED = frozenset({"running", "updating-running"})
_ENDED = frozenset({"stopping", "stopped"})
_GONE = frozenset({"removing", "removed", "purging", "purged", "error", "erroring"})


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The containers that one depends on, all of them started."""

    network: Record | None
    volumes: tuple[Record, ...]

    @property
    def hosts(self) -> tuple[tuple[frozenset[int], str], ...]:
        """Where the dependent container must run, with the reason to show."""
        needed = [(each, "volumes") for each in self.volumes]
        if self.network is not None:
            needed.append((self.network, "network"))
        return tuple(
            (frozenset({int(each["hostId"])}), f"shares the {what} of {each.name or each.id} on another host")
            for each, what in needed
            if each["hostId"] is not None
        )


NONE = Dependencies(None, ())


async def wait_for(context: Context, instance: Record) -> Dependencies:
    """Wait until all are started. Raises StartFailed when that cannot happen, NotReady when it takes too long."""
    network_id = instance["networkContainerId"]
    volume_ids = [int(each) for each in instance["dataVolumesFrom"] or ()]
    if network_id is None and not volume_ids:
        return NONE
    standalone = instance["serviceId"] is None
    network = None
    if network_id is not None:
        network = await _started(context, int(network_id), "networkFrom", standalone=standalone)
    volumes = [await _started(context, each, "volumeFrom", standalone=standalone) for each in volume_ids]
    return Dependencies(network, tuple(volumes))


async def _started(context: Context, instance_id: int, what: str, *, standalone: bool) -> Record:
    def settled(record: Record | None) -> bool:
        return record is None or record.state in _STARTED or record.state in _GONE or record.state in _ENDED

    try:
        record = await context.watch.until("instance", instance_id, settled, timeout=_WAIT_SECONDS)
    except TimeoutError as late:
        raise NotReady(f"Waiting: {what} instance {instance_id} to start") from late
    if record is None or record.state in _GONE:
        raise StartFailed(f"Dependencies readiness error : {what} instance is removed")
    if record.state in _STARTED:
        return record
    if names.is_true((record["labels"] or {}).get(names.START_ONCE)) and record["hostId"] is not None:
        return record
    if standalone:
        raise StartFailed(f"Dependencies readiness error : {what} instance is not running")
    raise NotReady(f"Waiting: {what} instance {record.name or record.id} to start")
