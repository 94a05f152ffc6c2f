"""What an agent's ``uri`` says about how it is reached. Source: the forms of Rancher 1.6."""

from __future__ import annotations

SUBSCRIBED = "event://"
_UNPINGED = ("delegate://", "event:///instanceId", "event:///external")


def is_pinged(uri: str) -> bool:
    """Agents of hosts are pinged; agents behind a container or of another region are not."""
    return bool(uri) and not uri.startswith(_UNPINGED)


def is_simulated(uri: str) -> bool:
    """Agents that hold no subscription are answered inside the server."""
    return bool(uri) and not uri.startswith((SUBSCRIBED, "delegate://"))


def of_instance(instance_id: int, prefix: str = "") -> str:
    """The uri of the agent behind a container."""
    return f"{prefix or SUBSCRIBED}/instanceId={instance_id}"
