"""Containers: what makes one valid, what system containers refuse, and what is computed when one is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drover.server.api.call import Call
from drover.server.api.draft import Draft
from drover.server.api.errors import forbidden, invalid
from drover.server.api.extensions import Extensions
from drover.server.api.types.launch_configs import check_launch_config
from drover.server.api.types.names import check_dns_label
from drover.server.store import Record

CREATE_AGENT_LABEL = "io.rancher.container.create_agent"
SYSTEM_LABEL = "io.rancher.container.system"

_AGENT = "rancher-agent"
_AGENT_KEEPS = frozenset({"start", "stop", "restart", "remove"})
_UNRELATED = frozenset({"requested", "creating"})  # too young to have mounts, or services beside its own


def register(extensions: Extensions) -> None:
    extensions.rule("instance")(check_container)
    extensions.computes("instance")(compute_container)
    extensions.filters_actions("instance")(_permitted_actions)


async def check_container(draft: Draft) -> None:
    """The container that would result."""
    if draft.get("system") and not draft.call.caller.modify_infra:
        raise forbidden("Cannot create or change a system container; ask an owner of the environment")
    if draft.changes("name") and draft.values.get("name"):
        check_dns_label(str(draft.values["name"]), what="A container name")
    if not draft.creating:
        return
    values = draft.values
    if not values.get("imageUuid") and draft.call.context.settings.bool("api.instance.require.image"):
        raise invalid(
            "MissingRequired", "imageUuid", "imageUuid is required; name the image to run, such as docker:nginx"
        )
    check_launch_config(draft.call, values)
    mode = values.get("networkMode")
    if values.get("networkContainerId") is not None:
        values["networkMode"] = "container"
    elif mode == "container":
        raise invalid(
            "MissingRequired",
            "networkContainerId",
            "networkMode container needs networkContainerId, the container to share with",
        )
    if values.get("imageUuid") and values.get("registryCredentialId") is None:
        values.pop("registryCredentialId", None)  # chosen by the registry of the image when the container is created


async def compute_container(call: Call, records: Sequence[Record]) -> dict[int, dict[str, Any]]:
    """``serviceIds`` and ``mounts``, for all containers of a page in two statements."""
    if call.version == "v1":
        return {}
    found: dict[int, dict[str, Any]] = {
        record.id: {"serviceIds": [] if record["serviceId"] is None else [record["serviceId"]], "mounts": []}
        for record in records
    }
    ids = [record.id for record in records if record.state not in _UNRELATED]
    if not ids:
        return found
    for exposed in await call.store.find_by("serviceExposeMap", instanceId=ids, removed=None):
        services: list[int] = found[exposed["instanceId"]]["serviceIds"]
        if exposed["serviceId"] is not None and exposed["serviceId"] not in services:
            services.append(exposed["serviceId"])
    for mount in await call.store.find_by("mount", instanceId=ids, removed=None):
        found[mount["instanceId"]]["mounts"].append(_mount_entry(mount))
    return found


def _mount_entry(mount: Record) -> dict[str, Any]:
    return {
        "instanceId": mount["instanceId"],
        "volumeId": mount["volumeId"],
        "volumeName": mount["volumeName"],
        "path": mount["path"],
        "permission": mount["permissions"],
    }


def _permitted_actions(call: Call, record: Record, names: list[str]) -> list[str]:
    """System containers keep their logs only for those without infrastructure rights; the agent cannot be stopped."""
    labels = record["labels"] or {}
    if record["system"] and not call.caller.modify_infra:
        return [name for name in names if name == "logs"]
    if record.name == _AGENT and labels.get(SYSTEM_LABEL) == _AGENT:
        names = [name for name in names if name not in _AGENT_KEEPS]
    restricted = not call.caller.modify_infra and not call.context.settings.bool("allow.restricted.user.exec")
    if restricted and _is_powerful(record, labels):
        names = [name for name in names if name not in ("execute", "proxy")]
    return names


def _is_powerful(record: Record, labels: dict[str, Any]) -> bool:
    agent = str(labels.get(CREATE_AGENT_LABEL, "")).lower() == "true"
    return agent or bool(record["privileged"]) or bool(record["capAdd"])
