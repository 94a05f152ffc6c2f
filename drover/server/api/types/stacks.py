"""Stacks: names, and the actions that walk over their services."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from drover.compose.export import ComposeFiles, ExportNames, ServiceName, export_stack
from drover.server.api.call import Call
from drover.server.api.draft import Draft
from drover.server.api.errors import ApiError, forbidden, invalid
from drover.server.api.extensions import Extensions, Output, Prepared
from drover.server.api.rendering import render_items
from drover.server.api.types.names import check_dns_label
from drover.server.api.types.networks import refuse_if_used
from drover.server.api.writing import commit
from drover.server.orchestration.services.stacks import activate_services, deactivate_services
from drover.server.store import Condition, Query, Record

_LARGEST_FILE = 1024 * 1024  # characters of a Compose file


def register(extensions: Extensions) -> None:
    extensions.rule("stack")(check_stack)
    extensions.computes("stack")(compute_stack)
    extensions.action("activateservices", "stack")(_activate_services)
    extensions.action("deactivateservices", "stack")(_deactivate_services)
    extensions.action("addoutputs", "stack")(_add_outputs)
    extensions.action("exportconfig", "stack")(export_config)
    extensions.link("composeConfig", "stack")(compose_archive)
    extensions.names_links("stack")(lambda call, record: ("composeConfig",))
    extensions.prepares("upgrade", "stack")(_prepare_upgrade)
    extensions.filters_actions("stack")(_without_system_actions)


async def check_stack(draft: Draft) -> None:
    if draft.get("system") and not draft.call.caller.modify_infra:
        raise forbidden("Cannot create or change a system stack; ask an owner of the environment")
    for name in ("dockerCompose", "rancherCompose"):
        if len(draft.values.get(name) or "") > _LARGEST_FILE:
            raise invalid("MaxLengthExceeded", name, f"{name} may have at most {_LARGEST_FILE} characters")
    if not draft.changes("name"):
        return
    name = str(draft.get("name") or "")
    check_dns_label(name, what="A stack name")
    message = f"There is already a stack called {name} in this environment; choose another name"
    account_id = draft.get("accountId")
    for other in await draft.call.store.find_by("stack", accountId=account_id, name=name, removed=None):
        if draft.record is None or other.id != draft.record.id:
            raise invalid("NotUnique", "name", message)
    draft.claim(f"stack:{account_id}:{name.lower()}", field_name="name", message=message)
    if draft.record is not None:
        draft.releases.append(f"stack:{account_id}:{str(draft.record.name).lower()}")


async def compute_stack(call: Call, records: Sequence[Record]) -> dict[int, dict[str, Any]]:
    """``serviceIds`` of all stacks of a page in one statement."""
    if call.version == "v1":
        return {}
    found: dict[int, list[int]] = {record.id: [] for record in records}
    conditions = (Condition("stackId", "in", list(found)), Condition("removed", "null"))
    for service in await call.store.find(Query("service", conditions)):
        found[service["stackId"]].append(service.id)
    return {stack_id: {"serviceIds": ids} for stack_id, ids in found.items()}


# Actions


async def _activate_services(call: Call, record: Record, _given: dict[str, Any]) -> Record:
    await _check_services_settled(call, record)
    await activate_services(call.context, record)
    return record


async def _deactivate_services(call: Call, record: Record, _given: dict[str, Any]) -> Record:
    await refuse_if_used(call, await call.store.find_by("service", stackId=record.id, removed=None))
    await deactivate_services(call.context, record)
    return record


async def _check_services_settled(call: Call, record: Record) -> None:
    for service in await call.store.find_by("service", stackId=record.id, removed=None):
        if service.state == "registering":
            raise ApiError(422, "InvalidState", f"Service {service.name} is still being created; try again in a moment")


async def _add_outputs(call: Call, record: Record, given: dict[str, Any]) -> Record:
    changes = call.store.changes()
    changes.update(record, {"outputs": {**(record["outputs"] or {}), **(given.get("outputs") or {})}})
    return (await commit(call, changes)).record(record)


async def _prepare_upgrade(call: Call, record: Record, given: dict[str, Any]) -> Prepared:
    """Remember what a rollback returns to; the Compose files travel as process data."""
    values: dict[str, Any] = {
        "previousExternalId": record["externalId"],
        "previousEnvironment": record["environment"],
    }
    if given.get("externalId"):
        values["externalId"] = given["externalId"]
    return Prepared(values=values, data=given)


async def export_config(call: Call, record: Record, given: dict[str, Any]) -> Output:
    """The stack, or some of its services, as Compose files."""
    files = await _exported(call, record, given.get("serviceIds"))
    return Output(
        type="composeConfig",
        values={"dockerComposeConfig": files.docker_compose, "rancherComposeConfig": files.rancher_compose},
    )


async def compose_archive(call: Call, record: Record) -> Response:
    """The stack's Compose files as a zip."""
    files = await _exported(call, record, None)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("docker-compose.yml", files.docker_compose)
        archive.writestr("rancher-compose.yml", files.rancher_compose)
    headers = {"Content-Disposition": f'attachment; filename="compose-1st{record.id}.zip"'}
    return Response(buffer.getvalue(), media_type="application/zip", headers=headers)


async def _exported(call: Call, record: Record, chosen: Sequence[int] | None) -> ComposeFiles:
    services = await call.store.find_by("service", stackId=record.id, removed=None)
    if chosen:
        services = [each for each in services if each.id in chosen]
    templates = await call.store.find_by("volumeTemplate", stackId=record.id, removed=None)
    return export_stack(
        stack_name=str(record.name),
        services=await render_items(call, services),
        volume_templates=[each.values for each in templates],
        names=await _names(call, record),
    )


async def _names(call: Call, stack: Record) -> ExportNames:
    """The names behind the ids that exported services refer to."""
    account_id = stack.account_id
    services = await call.store.find_by("service", accountId=account_id, removed=None)
    stacks = {each.id: str(each.name) for each in await call.store.find_by("stack", accountId=account_id, removed=None)}
    certificates = await call.store.find_by("certificate", accountId=account_id, removed=None)
    secrets = await call.store.find_by("secret", accountId=account_id, removed=None)
    return ExportNames(
        services={
            f"1s{each.id}": ServiceName(stack=stacks.get(each["stackId"], ""), name=str(each.name)) for each in services
        },
        certificates={f"1c{each.id}": str(each.name) for each in certificates},
        secrets={f"1se{each.id}": str(each.name) for each in secrets},
    )


def _without_system_actions(call: Call, record: Record, names: list[str]) -> list[str]:
    return [] if record["system"] and not call.caller.modify_infra else names
