"""What exists of a service, kept in memory and current: its units, their members, and which units need attention.

A digest is loaded once, with three narrow queries, and then follows the commits: one container that changes costs a
look at its own unit, however many others there are. The reconcile loop therefore looks only at the units that are
not as they should be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from drover.server.orchestration.services.spec import PRIMARY, ServiceSpec
from drover.server.store import Record

GONE = frozenset({"removing", "removed", "purging", "purged"})
BROKEN = frozenset({"error", "erroring"})
STARTED = frozenset({"running", "updating-running"})
STOPPED = frozenset({"stopped", "updating-stopped"})
STARTING = frozenset({"requested", "creating", "starting", "restarting", "migrating"})


class Status(Enum):
    """How a unit stands. ``GOOD`` needs nothing, ``PENDING`` only time; the others need the loop to act."""

    GOOD = auto()
    PENDING = auto()
    STOPPED = auto()
    INCOMPLETE = auto()
    BROKEN = auto()
    UNHEALTHY = auto()


@dataclass(slots=True)
class Member:
    """A container of a unit. ``record`` holds its columns only."""

    record: Record
    config: str
    expose_id: int | None = None
    managed: bool = True
    upgrade: bool = False

    @property
    def id(self) -> int:
        return self.record.id

    @property
    def state(self) -> str:
        return self.record.state

    @property
    def health(self) -> str | None:
        value = self.record["healthState"]
        return None if value is None else str(value)

    @property
    def version(self) -> str:
        return str(self.record["version"] or "0")

    @property
    def unhealthy(self) -> bool:
        return self.health in ("unhealthy", "updating-unhealthy")

    @property
    def initializing(self) -> bool:
        return self.health in ("initializing", "reinitializing", "updating-reinitializing")

    @property
    def healthy(self) -> bool:
        return self.health in (None, "healthy", "updating-healthy")

    def ran_once(self) -> bool:
        return self.state in ("stopped", "stopping") and int(self.record["startCount"] or 0) > 0


@dataclass(slots=True)
class Unit:
    """One container per launch config, on one host, with one index."""

    uuid: str
    record: Record | None = None
    members: dict[int, Member] = field(default_factory=dict)
    status: Status = Status.INCOMPLETE

    @property
    def index(self) -> int:
        text = None if self.record is None else self.record["serviceIndex"]
        return int(text) if text and str(text).isdigit() else 0

    @property
    def requested_host_id(self) -> int | None:
        value = None if self.record is None else (self.record["labels"] or {}).get(REQUESTED_HOST_LABEL)
        return int(value) if value else None

    @property
    def host_id(self) -> int | None:
        for member in self.members.values():
            if member.record["hostId"] is not None:
                return int(member.record["hostId"])
        return None

    @property
    def create_index(self) -> int:
        return max((int(m.record["createIndex"] or 0) for m in self.members.values()), default=0)

    def living(self) -> Iterator[Member]:
        """Members that count: managed, and not on their way out."""
        return (m for m in self.members.values() if m.managed and not m.upgrade and m.state not in GONE)

    def by_config(self) -> dict[str, Member]:
        return {member.config: member for member in self.living()}


REQUESTED_HOST_LABEL = "io.rancher.service.requested.host.id"


class Digest:
    """The units of one service."""

    def __init__(self, spec: ServiceSpec) -> None:
        self.spec = spec
        self.units: dict[str, Unit] = {}
        self.by_status: dict[Status, dict[str, Unit]] = {status: {} for status in Status}
        self.lost_hosts: set[int] = set()
        self._exposed: dict[int, Record] = {}
        self._unit_of: dict[int, str] = {}
        self._staying: set[str] = set()

    # What the loop asks

    def count(self, status: Status) -> int:
        return len(self.by_status[status])

    def unit_of(self, instance_id: int) -> Unit | None:
        return self.units.get(self._unit_of.get(instance_id, ""))

    def staying(self) -> int:
        """Units that exist and are not on their way out."""
        return len(self._staying)

    def members(self) -> Iterator[Member]:
        for unit in self.units.values():
            yield from unit.members.values()

    # What the commits tell

    def use(self, spec: ServiceSpec) -> None:
        """The service was changed: judge every unit anew, if the change concerns them."""
        old, self.spec = self.spec, spec
        if (old.configs, old.health_strategy) != (spec.configs, spec.health_strategy):
            self.reclassify()

    def reclassify(self) -> None:
        for unit in self.units.values():
            self._classify(unit)

    def host_lost(self, host_id: int, lost: bool) -> None:
        """A host was removed, or its agent went away (and came back)."""
        before = host_id in self.lost_hosts
        if before == lost:
            return
        self.lost_hosts ^= {host_id}
        for unit in list(self.units.values()):
            if unit.host_id == host_id:
                self._classify(unit)

    def see_unit(self, record: Record) -> None:
        uuid = record.uuid
        if record["removed"] or record.state in GONE:
            self._staying.discard(uuid)
            unit = self.units.get(uuid)
            if unit is not None:
                unit.record = None
                self._drop_if_empty(unit)
            return
        self._staying.add(uuid)
        unit = self.units.get(uuid)
        if unit is None:
            unit = self.units[uuid] = Unit(uuid)
        unit.record = record
        self._classify(unit)

    def see_exposure(self, record: Record) -> None:
        instance_id = int(record["instanceId"] or 0)
        self._exposed[instance_id] = record
        unit = self.unit_of(instance_id)
        if unit is not None:
            self._describe(unit.members[instance_id])
            self._classify(unit)

    def see_instance(self, record: Record) -> None:
        uuid = str(record["deploymentUnitUuid"] or "")
        known = self._unit_of.get(record.id)
        if record["removed"] or record.state in ("removed", "purging", "purged"):
            if known is not None:
                self._forget(record.id)
            return
        if not uuid:
            return
        unit = self.units.get(uuid)
        if unit is None:
            unit = self.units[uuid] = Unit(uuid)
        member = unit.members.get(record.id)
        if member is None:
            member = unit.members[record.id] = Member(record, PRIMARY)
            self._unit_of[record.id] = uuid
        member.record = record
        self._describe(member)
        self._classify(unit)

    def _describe(self, member: Member) -> None:
        exposed = self._exposed.get(member.id)
        if exposed is not None:
            member.config = str(exposed["dnsPrefix"] or PRIMARY)
            member.expose_id = exposed.id
            member.managed = exposed["managed"] is not False
            member.upgrade = bool(exposed["upgrade"])

    def _forget(self, instance_id: int) -> None:
        unit = self.units[self._unit_of.pop(instance_id)]
        self._exposed.pop(instance_id, None)
        del unit.members[instance_id]
        self._classify(unit)
        self._drop_if_empty(unit)

    def _drop_if_empty(self, unit: Unit) -> None:
        if unit.record is None and not unit.members:
            self.units.pop(unit.uuid, None)
            self.by_status[unit.status].pop(unit.uuid, None)

    # Judgement

    def _classify(self, unit: Unit) -> None:
        self.by_status[unit.status].pop(unit.uuid, None)
        unit.status = self._judge(unit)
        self.by_status[unit.status][unit.uuid] = unit

    def _judge(self, unit: Unit) -> Status:
        present = unit.by_config()
        members = list(present.values())
        if any(member.state in BROKEN for member in members):
            return Status.BROKEN
        if self.spec.health_strategy != "none" and any(member.unhealthy for member in members):
            return Status.UNHEALTHY
        if unit.host_id in self.lost_hosts and any(member.state in STARTING for member in members):
            return Status.UNHEALTHY
        if any(config.name not in present for config in self.spec.configs):
            return Status.INCOMPLETE
        waiting = False
        for config in self.spec.configs:
            member = present[config.name]
            if member.state in STARTED:
                continue
            if config.start_once and member.ran_once():
                continue
            if member.state in STOPPED:
                return Status.STOPPED
            waiting = True
        return Status.PENDING if waiting else Status.GOOD
