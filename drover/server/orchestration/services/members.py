"""What a new container of a service is made of: the launch config, its place in the unit, and the platform's labels.

Names, labels and search domains are those of Rancher 1.6, because stacks in use depend on each of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from drover.server.orchestration.services.spec import PRIMARY, PRIMARY_LABEL, LaunchConfig, ServiceSpec

STACK_NAME = "io.rancher.stack.name"
STACK_SERVICE_NAME = "io.rancher.stack_service.name"
PROJECT_NAME = "io.rancher.project.name"
PROJECT_SERVICE_NAME = "io.rancher.project_service.name"
DEPLOYMENT_UNIT = "io.rancher.service.deployment.unit"
LAUNCH_CONFIG = "io.rancher.service.launch.config"
REQUESTED_HOST = "io.rancher.service.requested.host.id"
HOSTNAME_OVERRIDE = "io.rancher.container.hostname_override"
DNS = "io.rancher.container.dns"
DNS_PRIORITY = "io.rancher.container.dns.priority"
AFFINITY = "io.rancher.scheduler.affinity:"
CONTAINER_LABEL_AFFINITY = f"{AFFINITY}container_label"
_LONGEST_HOSTNAME = 64
# Launch config keys that say how to deploy and are not fields of a container.
_DEPLOYMENT_KEYS = frozenset(
    {"name", "type", "links", "actions", "baseType", "id", "data", "dataVolumesFromLaunchConfigs"}
    | {"networkLaunchConfig", "drainTimeoutMs", "version", "kind"}
)


def container_name(spec: ServiceSpec, config: LaunchConfig, index: int) -> str:
    parts = [spec.stack_name, spec.name, *([config.name] if config.name != PRIMARY else []), str(index)]
    return "-".join(parts)


def service_label(spec: ServiceSpec, config: LaunchConfig) -> str:
    name = f"{spec.stack_name}/{spec.name}"
    return name if config.name == PRIMARY else f"{name}/{config.name}"


def member_values(
    spec: ServiceSpec,
    config: LaunchConfig,
    *,
    index: int,
    unit_uuid: str,
    create_index: int,
    siblings: Mapping[str, int],
    requested_host_id: int | None,
) -> dict[str, Any]:
    """The instance row for one member. ``siblings`` maps launch config names of the unit to instance ids."""
    fields = {key: value for key, value in config.fields.items() if key not in _DEPLOYMENT_KEYS and value is not None}
    name = container_name(spec, config, index)
    labels = _labels(spec, config, unit_uuid, requested_host_id)
    values = {
        **fields,
        "kind": str(config.fields.get("kind") or "container"),
        "accountId": spec.account_id,
        "name": name,
        "labels": labels,
        "serviceId": spec.id,
        "stackId": spec.stack.id,
        "system": bool(spec.record["system"]),
        "deploymentUnitUuid": unit_uuid,
        "createIndex": create_index,
        "version": config.version,
        "serviceIndex": str(index),
        "startOnCreate": True,
        "restartPolicy": None,  # the reconcile loop restarts members; an engine doing so too would fight it
    }
    if requested_host_id is not None:
        values["requestedHostId"] = requested_host_id
    _set_relations(spec, config, siblings, values)
    _set_names(spec, name, labels, values)
    return values


def _set_relations(
    spec: ServiceSpec, config: LaunchConfig, siblings: Mapping[str, int], values: dict[str, Any]
) -> None:
    own_name = spec.name.lower()

    def sibling(name: str) -> int | None:
        return siblings.get(PRIMARY if name.lower() == own_name else name)

    sources = [sibling(str(name)) for name in config.fields.get("dataVolumesFromLaunchConfigs") or []]
    found = [each for each in sources if each is not None]
    if found:
        values["dataVolumesFrom"] = [*(values.get("dataVolumesFrom") or []), *found]
    network = config.fields.get("networkLaunchConfig")
    if network and sibling(str(network)) is not None:
        values["networkMode"] = "container"
        values["networkContainerId"] = sibling(str(network))


def _set_names(spec: ServiceSpec, name: str, labels: Mapping[str, str], values: dict[str, Any]) -> None:
    if str(labels.get(HOSTNAME_OVERRIDE, "")).lower() == "container_name":
        values["hostname"] = _fitting_hostname(name, str(values.get("domainName") or ""))
    if str(labels.get(DNS, "")).lower() != "false" and str(labels.get(DNS_PRIORITY, "")).lower() != "none":
        own = f"{spec.stack_name}.rancher.internal".lower()
        domains = list(values.get("dnsSearch") or [])
        domains.extend(each for each in (own, f"{spec.name.lower()}.{own}") if each not in domains)
        values["dnsSearch"] = domains


def _fitting_hostname(name: str, domain: str) -> str:
    room = _LONGEST_HOSTNAME - (len(domain) + 1 if domain else 0)
    if len(name) <= room:
        return name
    base, _, index = name.rpartition("-")
    return f"{base[: max(1, room - len(index) - 1)]}-{index}"


def _labels(spec: ServiceSpec, config: LaunchConfig, unit_uuid: str, requested_host_id: int | None) -> dict[str, str]:
    qualified = service_label(spec, config)
    labels = {
        STACK_NAME: spec.stack_name,
        STACK_SERVICE_NAME: qualified,
        PROJECT_NAME: spec.stack_name,
        PROJECT_SERVICE_NAME: qualified,
        DEPLOYMENT_UNIT: unit_uuid,
        LAUNCH_CONFIG: config.name or PRIMARY_LABEL,
    }
    if requested_host_id is not None:
        labels[REQUESTED_HOST] = str(requested_host_id)
    labels.update(merged_labels(spec, config))
    return labels


def merged_labels(spec: ServiceSpec, config: LaunchConfig) -> dict[str, str]:
    """A config's own labels plus the scheduling labels of its siblings: a unit is placed as a whole."""
    merged = {_normalised(key): _text(value) for key, value in config.labels.items()}
    for other in spec.configs:
        if other is config:
            continue
        for key, value in other.labels.items():
            name = _normalised(key)
            if name.startswith(AFFINITY):
                merged[name] = _joined(merged.get(name), _text(value))
    return {key: _qualified(spec, config, key, value) for key, value in merged.items()}


def _normalised(key: str) -> str:
    lowered = key.lower()
    return lowered if lowered.startswith("io.rancher") else key


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _joined(old: str | None, new: str) -> str:
    if not old:
        return new
    return old if new in old else f"{old},{new}"


_SERVICE_ITEM = re.compile(r"^(io\.rancher\.(?:stack|project)_service\.name)=([^,/$]+)$", re.IGNORECASE)


def _qualified(spec: ServiceSpec, config: LaunchConfig, key: str, value: str) -> str:
    """``…stack_service.name=web`` means the service of that name in the own stack, as users write it."""
    if not key.startswith(CONTAINER_LABEL_AFFINITY):
        return value
    items = []
    for item in value.split(","):
        match = _SERVICE_ITEM.match(item.strip())
        if match is None:
            items.append(item)
            continue
        name = f"{spec.stack_name}/{match[2]}"
        own = match[2].lower() == spec.name.lower() and config.name != PRIMARY
        items.append(f"{match[1]}={name}/{config.name}" if own else f"{match[1]}={name}")
    return ",".join(items)
