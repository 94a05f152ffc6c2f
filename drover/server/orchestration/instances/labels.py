"""The labels that steer a container, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CREATE_AGENT = "io.rancher.container.create_agent"
AGENT_ROLE = "io.rancher.container.agent.role"
AGENT_URI_PREFIX = "io.rancher.container.agent.uri.prefix"
AGENT_VOLUMES = "io.rancher.container.agent.volumes_strategy"
CLEANUP_STRATEGY = "io.rancher.container.volume_cleanup_strategy"
HOST_CLEANUP = "io.drover.host.cleanup"
HOST_CLEANUP_VOLUMES = "io.drover.host.cleanup.volumes"
DISPLAY_NAME = "io.rancher.container.display_name"
DNS = "io.rancher.container.dns"
DNS_PRIORITY = "io.rancher.container.dns.priority"
ENVIRONMENT_UUID = "io.rancher.environment.uuid"
NETWORK = "io.rancher.container.network"
REQUESTED_IP = "io.rancher.container.requested_ip"
STACK_SERVICE = "io.rancher.stack_service.name"
START_ONCE = "io.rancher.container.start_once"
SYSTEM = "io.rancher.container.system"
UUID = "io.rancher.container.uuid"


def labels_of(values: Mapping[str, Any]) -> dict[str, str]:
    """The labels of a container as a fresh map of texts."""
    return {str(key): "" if value is None else str(value) for key, value in (values.get("labels") or {}).items()}


def is_true(value: Any) -> bool:
    return str(value).strip().lower() == "true"
