"""Labels and names that the agent, the network manager and users agree on (Rancher 1.6)."""

from __future__ import annotations

import re

LABEL_UUID = "io.rancher.container.uuid"
LABEL_NAME = "io.rancher.container.name"
LABEL_MAC = "io.rancher.container.mac_address"
LABEL_IP = "io.rancher.container.ip"
LABEL_AGENT_ID = "io.rancher.container.agent_id"
LABEL_CNI_WAIT = "io.rancher.cni.wait"
LABEL_CNI_NETWORK = "io.rancher.cni.network"
LABEL_PULL_IMAGE = "io.rancher.container.pull_image"
LABEL_DNS_PRIORITY = "io.rancher.container.dns.priority"
LABEL_CATTLE_URL = "io.rancher.container.cattle_url"

LABEL_AGENT_TASK = "io.drover.agent.task"
"""On containers that the agent runs for itself, for a moment: the server never hears of them."""

WAIT_PROGRAM = "/.r/r"
"""Static program in the volume below: waits for the network, then becomes the container's program."""

WAIT_BIND = "rancher-cni:/.r:ro"

_DOCKER_NAME = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9_.-]+$")


def container_name(*, name: str | None, uuid: str) -> str:
    """`r-<name>-<start of uuid>`, or `r-<uuid>` when the name is not one that Docker takes."""
    if name and _DOCKER_NAME.match(name):
        return f"r-{name}-{uuid.split('-', 1)[0]}"
    return f"r-{uuid}"
