"""What a role may not do although its schemas would let it: the rules about infrastructure.

The schemas say which types and fields a role may write; they cannot say that a restricted member may remove his own
container but not one of the system. One function judges creating, changing, removing and acting alike, so that no way
in is forgotten. The texts are those of Rancher 1.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from drover.server.api.call import Call
from drover.server.api.errors import forbidden
from drover.server.store import Record

Verb = Literal["create", "update", "delete"]

_HARDWARE = {"host": "host", "physicalHost": "machine"}
_OF_THE_SYSTEM = {"service": "system service", "stack": "system stack", "instance": "system container"}


def require_may(call: Call, verb: Verb, base_type: str, values: Mapping[str, Any]) -> None:
    """Raises 403 unless the caller may do this to an object with these values."""
    if call.caller.modify_infra:
        return
    name = _HARDWARE.get(base_type)
    if name is None and values.get("system"):
        name = _OF_THE_SYSTEM.get(base_type)
    if name is not None:
        raise forbidden(f"Cannot {verb} {name}: your role in the environment does not include its infrastructure")
    if base_type == "credential" and values.get("kind") == "registrationToken":
        raise forbidden("Cannot access registrationToken: your role does not include adding hosts")


def require_may_change(call: Call, verb: Verb, record: Record) -> None:
    require_may(call, verb, record.type, record.values)
