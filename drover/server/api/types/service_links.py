"""The actions that change the links of a service. Source: Rancher 1.6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drover.server.api.call import Call
from drover.server.api.errors import invalid
from drover.server.api.extensions import Extensions
from drover.server.api.scope import load_visible
from drover.server.api.types.legacy_balancers import is_legacy, legacy_links, plan_legacy_links
from drover.server.api.types.names import check_alias
from drover.server.api.writing import commit
from drover.server.orchestration.services.links import Link, links_of, plan_link, plan_links, plan_unlink
from drover.server.store import Changes, Record


def register(extensions: Extensions) -> None:
    extensions.action("setservicelinks", "service")(set_links)
    extensions.action("addservicelink", "service")(add_link)
    extensions.action("removeservicelink", "service")(remove_link)


async def set_links(call: Call, record: Record, given: dict[str, Any]) -> Record:
    """Replace all links."""
    wanted = await _links(call, given.get("serviceLinks") or [])
    changes = call.store.changes()
    plan_links(changes, record, await links_of(call.context, record), wanted)
    if is_legacy(record):
        plan_legacy_links(changes, record, dict(map(_ports, given.get("serviceLinks") or [])))
    return await _write(call, changes, record)


async def add_link(call: Call, record: Record, given: dict[str, Any]) -> Record:
    (wanted,) = await _links(call, [given["serviceLink"]])
    for existing in await links_of(call.context, record):
        same_target = existing["consumedServiceId"] == wanted.service_id
        if same_target and str(existing["name"] or "").lower() == wanted.alias.lower():
            raise _duplicate()
    changes = call.store.changes()
    plan_link(changes, record, wanted)
    if is_legacy(record):
        plan_legacy_links(changes, record, {**legacy_links(record), **dict([_ports(given["serviceLink"])])})
    return await _write(call, changes, record)


async def remove_link(call: Call, record: Record, given: dict[str, Any]) -> Record:
    """Remove the link to a service under the given name; without a name, the one without a name."""
    link = given["serviceLink"]
    changes = call.store.changes()
    for existing in await links_of(call.context, record):
        same_target = existing["consumedServiceId"] == link.get("serviceId")
        if same_target and str(existing["name"] or "") == str(link.get("name") or ""):
            plan_unlink(changes, existing)
    if is_legacy(record):
        removed = link.get("serviceId")
        plan_legacy_links(changes, record, {key: v for key, v in legacy_links(record).items() if key != removed})
    return await _write(call, changes, record)


async def _write(call: Call, changes: Changes, record: Record) -> Record:
    await commit(call, changes)
    return record


async def _links(call: Call, given: Sequence[Mapping[str, Any]]) -> list[Link]:
    targets = await load_visible(call, "service", [int(each["serviceId"]) for each in given if each.get("serviceId")])
    links: list[Link] = []
    for each in given:
        alias = str(each.get("name") or "")
        service_id, name = each.get("serviceId"), each.get("service")
        if alias:
            check_alias(alias)
        if service_id is None:
            _check_named(name, alias)
        else:
            target = targets.get(int(service_id))
            if target is None or target["removed"]:
                shown = service_id if target is None else target.name
                raise invalid("InvalidReference", "serviceId", f"Service {shown} is removed; link to another one")
        links.append(Link(service_id, None if service_id is not None else str(name), alias))
    if len({link.key for link in links}) != len(links):
        raise _duplicate()
    return links


def _ports(link: Mapping[str, Any]) -> tuple[int, list[str]]:
    """The specifications of a link of a v1 balancer."""
    return int(link["serviceId"]), [str(port) for port in link.get("ports") or ()]


def _check_named(name: Any, alias: str) -> None:
    if not name:
        raise invalid("MissingRequired", "serviceId", "A link needs the serviceId of its target")
    if not alias:
        raise invalid("MissingRequired", "name", "A link to a service by name needs a name of its own")


def _duplicate() -> Exception:
    return invalid("NotUnique", "serviceLinks", "The service has this link already, or it is given twice")
