"""From rows to facts: what of each row matters to metadata, and under which names it is looked up.

A row can state several facts, so that what changes often (a service's scale) is apart from what many objects look at
(its name). The word for a fact is the type of its row; ``…Name`` and ``…Place`` are such parts of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from drover.client.world import Container, Host, Network, Service
from drover.server.snapshot import values
from drover.server.snapshot.sheet import Sheet
from drover.server.store import Record, Touched

_GONE = frozenset({"removed", "purging", "purged"})
_NO_CONTAINER = frozenset({"removing", "error", "erroring"}) | _GONE
_NO_HOST = frozenset({"removing"}) | _GONE
HOST_NETWORK = "dockerHost"


class InstanceFact(NamedTuple):
    """A container as its own row tells it; ``links`` are pairs of name and instance."""

    own: Container
    host_id: int | None
    network_id: int | None
    network_container_id: int | None
    links: tuple[tuple[str, int], ...]


class ServiceFact(NamedTuple):
    """A service's objects, one for each launch configuration, and what of its load balancing refers to other rows."""

    own: tuple[Service, ...]
    stack_id: int | None
    balancing: Mapping[str, Any] | None


class ServiceName(NamedTuple):
    """What a service is called. Of one in another environment only ``qualified`` is known here, all of its name."""

    uuid: str
    name: str
    stack_id: int | None
    qualified: str | None = None


class StackName(NamedTuple):
    uuid: str
    name: str
    system: bool


class HostPlace(NamedTuple):
    uuid: str
    address: str | None


class NetworkName(NamedTuple):
    uuid: str
    kind: str


class EnvironmentFact(NamedTuple):
    uuid: str
    name: str
    default_network_id: int | None


class Exposure(NamedTuple):
    service_id: int
    launch_config: str | None


class Consumption(NamedTuple):
    """A link: to a service by number, or by the qualified name of one elsewhere."""

    service_id: int | None
    service: str | None
    alias: str | None


class InstanceLink(NamedTuple):
    name: str
    target_id: int


def take(sheet: Sheet, touched: Touched) -> None:
    """Put what a commit did to a row on the sheet."""
    before, after = touched.before, touched.after
    if before is not None and (after is None or any(before[each] != after[each] for each in _OWNERS[touched.type])):
        state_facts(sheet, before, deleted=True)
    if after is not None:
        state_facts(sheet, after)


def state_facts(sheet: Sheet, row: Record, *, deleted: bool = False) -> None:
    """Put what a row says on the sheet."""
    reader = _READERS.get(row.type)
    if reader is not None:
        reader(sheet, row, deleted or is_gone(row))


def is_gone(row: Record) -> bool:
    return row["removed"] is not None or row.state in _GONE


TYPES: tuple[str, ...] = (
    "account",
    "network",
    "host",
    "stack",
    "certificate",
    "service",
    "serviceConsumeMap",
    "instance",
    "instanceLink",
    "serviceExposeMap",
    "healthcheckInstanceHostMap",
)
"""The types that have facts, in the order that is quickest to load."""


def _account(sheet: Sheet, row: Record, gone: bool) -> None:
    default = row["defaultNetworkId"]
    fact = EnvironmentFact(row.uuid, row.name or "", None if default is None else int(default))
    sheet.put("accountUuid", row.id, None if gone else row.uuid)
    sheet.put("account", row.id, None if gone else fact)


def _stack(sheet: Sheet, row: Record, gone: bool) -> None:
    sheet.put("stack", row.id, None if gone else StackName(row.uuid, row.name or "", bool(row["system"])))


def _network(sheet: Sheet, row: Record, gone: bool) -> None:
    own = Network(
        uuid=row.uuid,
        name=row.name,
        host_ports=bool(row["hostPorts"]),
        metadata=values.mapping(row["metadata"]) | _key_mark(row),
        default_policy_action=row["defaultPolicyAction"],
        policy=row["policy"],
    )
    sheet.put("networkName", row.id, None if gone else NetworkName(row.uuid, row.kind))
    sheet.put("network", row.id, None if gone else own)


def _key_mark(row: Record) -> dict[str, Any]:
    """What tells routers that the network's pre-shared key was exchanged; nothing of the key itself."""
    revision = values.mapping(row["presharedKey"]).get("revision")
    return {} if revision is None else {"pskRevision": revision}


def _host(sheet: Sheet, row: Record, gone: bool) -> None:
    gone = gone or row.state in _NO_HOST
    address = values.text(row["agentIpAddress"])
    own = Host(
        uuid=row.uuid,
        name=row.name or values.text(row["hostname"]),
        hostname=values.text(row["hostname"]),
        agent_ip=address,
        state=row.state,
        agent_state=values.text(row["agentState"]),
        labels=values.labels(row["labels"]),
        memory=values.number(row["memory"]),
        milli_cpu=values.number(row["milliCpu"]),
        local_storage_mb=values.number(row["localStorageMb"]),
        hostId=row.id,
    )
    sheet.put("hostPlace", row.id, None if gone else HostPlace(row.uuid, address))
    sheet.put("host", row.id, None if gone or address is None else own)


def _certificate(sheet: Sheet, row: Record, gone: bool) -> None:
    sheet.put("certificate", row.id, None if gone else row.name)


def _service(sheet: Sheet, row: Record, gone: bool) -> None:
    stack_id = values.number(row["stackId"])
    name = ServiceName(row.uuid, row.name or "", stack_id)
    fact = ServiceFact(tuple(values.services(row)), stack_id, row["lbConfig"])
    sheet.put("serviceName", row.id, None if gone else name)
    sheet.put("service", row.id, None if gone else fact)


def _consumption(sheet: Sheet, row: Record, gone: bool) -> None:
    link = None if gone else consumption(row)
    if row["serviceId"] is not None:
        sheet.put_member("consumptions", int(row["serviceId"]), row.id, link)


def consumption(row: Record) -> Consumption | None:
    """The link that a row stands for, as long as it holds."""
    if is_gone(row) or _leaving(row) or row["serviceId"] is None:
        return None
    return Consumption(
        values.number(row["consumedServiceId"]), values.text(row["consumedService"]), values.text(row.name)
    )


def _instance(sheet: Sheet, row: Record, gone: bool) -> None:
    gone = gone or row.state in _NO_CONTAINER
    links = tuple((str(name), int(target)) for name, target in (row["instanceLinks"] or {}).items() if target)
    fact = InstanceFact(
        values.container(row),
        values.number(row["hostId"]),
        values.number(row["primaryNetworkId"]),
        values.number(row["networkContainerId"]),
        links,
    )
    sheet.put("instanceUuid", row.id, None if gone else row.uuid)
    sheet.put("instance", row.id, None if gone else fact)


def _instance_link(sheet: Sheet, row: Record, gone: bool) -> None:
    if row["instanceId"] is None:
        return
    target, name = row["targetInstanceId"], row["linkName"]
    gone = gone or _leaving(row) or target is None or not name
    link = None if gone else InstanceLink(str(name), int(target))
    sheet.put_member("instanceLinks", int(row["instanceId"]), row.id, link)


def _exposure(sheet: Sheet, row: Record, gone: bool) -> None:
    if row["instanceId"] is None or row["serviceId"] is None:
        return  # an address of an external service
    exposure = None if gone else Exposure(int(row["serviceId"]), values.text(row["dnsPrefix"]))
    sheet.put_member("exposures", int(row["instanceId"]), row.id, exposure)
    sheet.put_member("members", int(row["serviceId"]), row.id, None if gone else int(row["instanceId"]))


def _check(sheet: Sheet, row: Record, gone: bool) -> None:
    if row["instanceId"] is None or row["hostId"] is None:
        return
    host_id = None if gone or _leaving(row) else int(row["hostId"])
    sheet.put_member("checks", int(row["instanceId"]), row.id, host_id)


def _leaving(row: Record) -> bool:
    return row.state in ("removing", "deactivating", "inactive")


_READERS: Mapping[str, Callable[[Sheet, Record, bool], None]] = {
    "account": _account,
    "stack": _stack,
    "network": _network,
    "host": _host,
    "certificate": _certificate,
    "service": _service,
    "serviceConsumeMap": _consumption,
    "instance": _instance,
    "instanceLink": _instance_link,
    "serviceExposeMap": _exposure,
    "healthcheckInstanceHostMap": _check,
}

_OWNERS: Mapping[str, tuple[str, ...]] = defaultdict(
    tuple,
    {
        "serviceConsumeMap": ("serviceId",),
        "instanceLink": ("instanceId",),
        "serviceExposeMap": ("instanceId", "serviceId"),
        "healthcheckInstanceHostMap": ("instanceId",),
    },
)
"""The fields that say which group a row's fact is in."""
