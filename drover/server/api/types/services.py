"""Services of every kind: what makes one valid, its links, its upgrades, and what is computed when it is read.

Source of the rules: Rancher 1.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from drover.placement.selectors import SelectorError, parse_selector
from drover.server.api.call import Call
from drover.server.api.draft import Draft
from drover.server.api.errors import forbidden, invalid
from drover.server.api.extensions import Extensions, Prepared
from drover.server.api.types.balancers import check_balancer, complete_balancer, link_balancer_targets
from drover.server.api.types.launch_configs import check_launch_config, has_image
from drover.server.api.types.legacy_balancers import complete_legacy_balancer
from drover.server.api.types.names import check_dns_label
from drover.server.api.types.sidekicks import check_sidekicks
from drover.server.orchestration.services.upgrade import prepare_rollback, prepare_upgrade
from drover.server.resources.tables import table
from drover.server.store import Record

GLOBAL_LABEL = "io.rancher.scheduler.global"

_CLOSED_STACKS = frozenset({"error", "erroring", "removing", "removed", "purging", "purged"})
_WITHOUT_IMAGE = frozenset({"externalService", "dnsService", "kubernetesService", "composeService"})
_LARGEST_METADATA = 1024 * 1024


def register(extensions: Extensions) -> None:
    extensions.rule("service")(check_service)
    extensions.prepares("upgrade", "service")(prepare_service_upgrade)
    extensions.prepares("rollback", "service")(_prepare_rollback)
    extensions.prepares("restart", "service")(prepare_restart)
    extensions.computes("service")(compute_service)
    extensions.filters_actions("service")(_without_system_actions)


async def check_service(draft: Draft) -> None:
    """The service that would result. Runs before it is created and before it is changed."""
    call = draft.call
    stack = await _check_stack(draft)
    if not call.caller.modify_infra and stack is not None and stack["system"]:
        raise forbidden("Cannot create or change a system service; ask an owner of the environment")
    if draft.creating:
        draft.values["system"] = bool(stack and stack["system"])
    await _check_name(draft)
    _check_selectors(draft)
    _check_metadata(draft)
    _check_scale(draft)
    if draft.kind == "externalService":
        _check_external(draft)
    if draft.kind == "loadBalancerService":
        complete_legacy_balancer(draft)
        check_balancer(draft)
        complete_balancer(call.context.settings, draft.values.get("launchConfig"))
    if draft.creating or draft.changes("launchConfig") or draft.changes("secondaryLaunchConfigs"):
        check_configs(call, draft.kind, draft.values, draft.resulting)
    if draft.kind == "loadBalancerService":
        await link_balancer_targets(draft)


async def _check_stack(draft: Draft) -> Record | None:
    stack_id = draft.get("stackId")
    if stack_id is None:
        if draft.creating:
            raise invalid("MissingRequired", "stackId", "A service belongs to a stack; give its id as stackId")
        return None
    stack = await draft.call.store.get("stack", int(stack_id))
    if draft.creating and (stack is None or stack["removed"] or stack.state in _CLOSED_STACKS):
        state = "gone" if stack is None else stack.state
        raise invalid("InvalidState", "stackId", f"The stack is {state} and takes no services; use another stack")
    return stack


async def _check_name(draft: Draft) -> None:
    """Names of services and sidekicks are one space per stack, without regard to case."""
    if not (draft.changes("name") or draft.changes("secondaryLaunchConfigs")):
        return
    name = str(draft.get("name") or "")
    check_dns_label(name, what="A service name")
    names = [name, *_sidekick_names(draft.get("secondaryLaunchConfigs"))]
    stack_id = draft.get("stackId")
    taken: set[str] = set()
    for other in await draft.call.store.find_by("service", stackId=stack_id, removed=None):
        if draft.record is None or other.id != draft.record.id:
            taken |= {
                str(other.name).lower(),
                *(each.lower() for each in _sidekick_names(other["secondaryLaunchConfigs"])),
            }
    for each in names:
        message = f"There is already a service or sidekick called {each} in the stack; choose another name"
        if each.lower() in taken:
            raise invalid("NotUnique", "name", message)
        draft.claim(f"service:{stack_id}:{each.lower()}", field_name="name", message=message)
    if draft.record is not None and draft.changes("name"):
        draft.releases.append(f"service:{stack_id}:{str(draft.record.name).lower()}")


def _sidekick_names(configs: Sequence[Mapping[str, Any]] | None) -> list[str]:
    return [str(each.get("name") or "") for each in configs or ()]


def _check_selectors(draft: Draft) -> None:
    for name in ("selectorLink", "selectorContainer"):
        text = draft.values.get(name)
        if text:
            check_selector(str(text), name)


def check_selector(text: str, field_name: str) -> None:
    try:
        parse_selector(text)
    except SelectorError as error:
        raise invalid("InvalidFormat", field_name, str(error)) from error


def _check_metadata(draft: Draft) -> None:
    metadata = draft.values.get("metadata")
    if metadata and len(msgspec.json.encode(metadata)) > _LARGEST_METADATA:
        raise invalid("MaxLengthExceeded", "metadata", "metadata may have at most 1 MiB as JSON")


def _check_scale(draft: Draft) -> None:
    policy = draft.values.get("scalePolicy")
    if policy:
        low, high, step = (int(policy.get(name) or 1) for name in ("min", "max", "increment"))
        if low < 1:
            raise invalid("MinLimitExceeded", "min", "scalePolicy.min must be at least 1")
        if high < low:
            raise invalid("InvalidOption", "max", "scalePolicy.max may not be lower than min")
        if step < 1:
            raise invalid("MinLimitExceeded", "increment", "scalePolicy.increment must be at least 1")
    scale = draft.values.get("scale")
    if scale is not None and scale < 0:
        raise invalid("MinLimitExceeded", "scale", "scale must be at least 0")


def _check_external(draft: Draft) -> None:
    addresses, hostname = draft.get("externalIpAddresses"), draft.get("hostname")
    if bool(addresses) == bool(hostname):
        raise invalid(
            "InvalidOption", "externalIpAddresses", "Give either externalIpAddresses or hostname, and not both"
        )


def check_configs(call: Call, kind: str, values: dict[str, Any], resulting: Mapping[str, Any]) -> None:
    """The launch configs of a service, as its create, its update and its upgrade would leave them."""
    primary = values.get("launchConfig")
    if (
        kind not in _WITHOUT_IMAGE
        and not has_image(resulting.get("launchConfig"))
        and not resulting.get("selectorContainer")
    ):
        raise invalid(
            "MissingRequired",
            "imageUuid",
            "launchConfig.imageUuid is required when there is no selectorContainer; name the image to run",
        )
    if primary:
        check_launch_config(call, primary)
    for sidekick in values.get("secondaryLaunchConfigs") or ():
        check_launch_config(call, sidekick)
    check_sidekicks(
        str(resulting.get("name") or ""),
        resulting.get("launchConfig") or {},
        resulting.get("secondaryLaunchConfigs") or [],
    )


# Actions


async def prepare_service_upgrade(call: Call, record: Record, given: dict[str, Any]) -> Prepared:
    """The strategy of an upgrade, judged over the service that it leads to."""
    strategy = given.get("inServiceStrategy")
    if not strategy and not given.get("toServiceStrategy"):
        raise invalid("MissingRequired", "inServiceStrategy", "Say how to upgrade: give an inServiceStrategy")
    if not strategy:
        return Prepared(values={"upgrade": given}, data=given)
    launch, sidekicks = strategy.get("launchConfig"), strategy.get("secondaryLaunchConfigs")
    if not launch and not sidekicks:
        raise invalid(
            "MissingRequired", "launchConfig", "inServiceStrategy needs a launchConfig or secondaryLaunchConfigs"
        )
    if record.kind == "loadBalancerService" and not launch:
        raise invalid("MissingRequired", "launchConfig", "The upgrade of a load balancer needs its launchConfig")
    if record.kind == "loadBalancerService":
        complete_balancer(call.context.settings, launch)
    if strategy.get("startFirst") and record["retainIp"]:
        raise invalid(
            "InvalidOption", "startFirst", "startFirst is not possible for a service that retains its addresses"
        )
    if launch:
        check_launch_config(call, launch)
        _check_global_unchanged(record, launch)
    for sidekick in sidekicks or ():
        check_launch_config(call, sidekick)
    values = prepare_upgrade(record, strategy)
    check_configs(call, record.kind, {}, {**record.values, **values})
    return Prepared(values=values)


def _check_global_unchanged(record: Record, launch: Mapping[str, Any]) -> None:
    if _is_global(record["launchConfig"]) != _is_global(launch):
        raise invalid(
            "InvalidOption",
            "labels",
            f"An upgrade cannot change whether the service is global ({GLOBAL_LABEL}); create another service",
        )


def _is_global(config: Mapping[str, Any] | None) -> bool:
    return str(((config or {}).get("labels") or {}).get(GLOBAL_LABEL, "")).lower() == "true"


async def _prepare_rollback(call: Call, record: Record, given: dict[str, Any]) -> Prepared:
    return Prepared(values=prepare_rollback(record), data=given)


async def prepare_restart(call: Call, record: Record, given: dict[str, Any]) -> Prepared:
    """Which containers are to be restarted is settled now: those that have not been started since."""
    strategy = given.get("rollingRestartStrategy")
    if not strategy:
        raise invalid("MissingRequired", "rollingRestartStrategy", "Say how to restart: give a rollingRestartStrategy")
    instances = await _instances_of(call, [record.id])
    counts = {str(each.id): int(each["startCount"] or 0) for each in instances.get(record.id, ())}
    return Prepared(values={"restart": {"rollingRestartStrategy": {**strategy, "instanceToStartCount": counts}}})


# Reading


async def compute_service(call: Call, records: Sequence[Record]) -> dict[int, dict[str, Any]]:
    """``instanceIds`` and ``linkedServices``, for all services of a page in a constant number of statements."""
    if call.version == "v1":
        return {}
    ids = [record.id for record in records]
    instances = await _instance_ids(call, ids)
    links = await linked_services(call, records)
    return {
        record.id: {
            "instanceIds": sorted(instances.get(record.id, ())),
            **({"linkedServices": links[record.id]} if record.id in links else {}),
        }
        for record in records
    }


async def _instance_ids(call: Call, service_ids: Sequence[int]) -> dict[int, list[int]]:
    """The numbers alone: a service of 20,000 containers is read without reading one of them."""
    exposed = table("serviceExposeMap").c
    statement = sa.select(exposed.service_id, exposed.instance_id).where(
        exposed.service_id.in_(service_ids), exposed.instance_id.is_not(None), exposed.removed.is_(None)
    )
    grouped: dict[int, list[int]] = {}
    for row in await call.store.rows(statement):
        grouped.setdefault(row.service_id, []).append(row.instance_id)
    return grouped


async def _instances_of(call: Call, service_ids: Sequence[int]) -> dict[int, list[Record]]:
    exposed = await call.store.find_by("serviceExposeMap", serviceId=list(service_ids), removed=None)
    found = await call.store.get_many("instance", [each["instanceId"] for each in exposed if each["instanceId"]])
    grouped: dict[int, list[Record]] = {}
    for each in exposed:
        instance = found.get(each["instanceId"])
        if instance is not None and instance["removed"] is None:
            grouped.setdefault(each["serviceId"], []).append(instance)
    return grouped


async def linked_services(call: Call, records: Sequence[Record]) -> dict[int, dict[str, Any]]:
    """What each service links to: alias, or name, or stack/name -> service id, or name where it is elsewhere."""
    rows = await call.store.find_by("serviceConsumeMap", serviceId=[each.id for each in records], removed=None)
    if not rows:
        return {}
    targets = await call.store.get_many(
        "service", [row["consumedServiceId"] for row in rows if row["consumedServiceId"]]
    )
    stacks = await call.store.get_many("stack", [each["stackId"] for each in targets.values() if each["stackId"]])
    own_stack = {record.id: record["stackId"] for record in records}
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        target = targets.get(row["consumedServiceId"])
        if target is None:
            if row["consumedService"]:
                found.setdefault(row["serviceId"], {})[str(row["name"] or row["consumedService"])] = row[
                    "consumedService"
                ]
            continue
        name = str(target.name)
        if target["stackId"] != own_stack[row["serviceId"]] and target["stackId"] in stacks:
            name = f"{stacks[target['stackId']].name}/{name}"
        found.setdefault(row["serviceId"], {})[str(row["name"] or name)] = target.id
    return found


def _without_system_actions(call: Call, record: Record, names: list[str]) -> list[str]:
    return [] if record["system"] and not call.caller.modify_infra else names
