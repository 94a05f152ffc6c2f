"""The event channel's messages: what servers and agents say to each other.

Published because both ends and third-party subscribers need the same words. The wire format is that of
Rancher 1.6 ("Cattle"): a request travels server -> agent as one JSON text frame, its answers travel back as
`publish` resources whose `previousIds[0]` names the request.

`data` stays raw JSON in the envelope: its shape depends on the event's name, so the handler decodes it, at once,
into the type it expects. A frame that nobody handles costs no more than its envelope.
"""

from __future__ import annotations

import uuid
from typing import Any, Literal

import msgspec

CHANNEL_HEADER = "X-Drover-Channel"
"""Sent by an agent that can answer on the subscribe WebSocket, echoed by a server that accepts it."""

CHANNEL_VERSION = "1"

HOST_CLEANUP = "host.cleanup"
"""Drover's own: a host that leaves its environment runs what its programs declared for that (`HostCleanup`)."""

BALANCER_REPORT = "service.balancer.report"
"""Drover's own, published by a balancer's container: why its configuration is refused (`transitioningMessage`), or
with an empty text that it is in force."""

HOST_AGENT_EVENTS: tuple[str, ...] = (
    "compute.instance.activate",
    "compute.instance.deactivate",
    "compute.instance.force.stop",
    "compute.instance.inspect",
    "compute.instance.pull",
    "compute.instance.remove",
    "storage.image.activate",
    "storage.volume.activate",
    "storage.volume.remove",
    HOST_CLEANUP,
    "ping",
    "config.update",
)
"""The events a host agent subscribes to. By that a server knows what the agent understands."""

Transition = Literal["yes", "no", "error"]
"""`yes` = progress, `error` = final failure; `no` or absent = final success."""


def new_id() -> str:
    """What names a message: any text that nobody uses twice."""
    return str(uuid.uuid4())


class Request(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """An event as the server sends it. `id` stays the same when the server sends it again.

    The list-valued envelope fields of the original (`previousIds`, `previousNames`) are absent on purpose: its
    agent decodes them as strings and drops the event when it finds a list.
    """

    name: str
    id: str = ""
    reply_to: str | None = None
    resource_type: str | None = None
    resource_id: str | int | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    time: int | float | None = None
    timeout_millis: int | float | None = None
    context: dict[str, Any] | None = None


class Reply(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """An answer: the body of `POST publish`. Without `transitioning` it is the final success."""

    name: str
    previous_ids: list[str]
    id: str = msgspec.field(default_factory=new_id)
    resource_type: str | None = None
    resource_id: str | int | None = None
    time: int | None = None
    data: Any = msgspec.UNSET
    transitioning: Transition | None = None
    transitioning_message: str | None = None
    transitioning_internal_message: str | None = None
    transitioning_progress: int | None = None

    @property
    def failure(self) -> str | None:
        """The error text of a final failure; the internal message wins, as with the first agents."""
        if self.transitioning != "error":
            return None
        return self.transitioning_internal_message or self.transitioning_message or "no reason given"


class PublishFrame(msgspec.Struct):
    """A reply on the WebSocket itself, used only when both ends announced `X-Drover-Channel`."""

    publish: Reply


class ContainerEvent(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """The body of `POST containerevents`: something happened to a container, whoever caused it."""

    external_status: str
    external_id: str
    external_from: str
    external_timestamp: int
    reported_host_uuid: str
    docker_inspect: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data: dict[str, Any] | None = None


# --- ping ------------------------------------------------------------------------------------------------------


class PingOptions(msgspec.Struct, omit_defaults=True):
    """What a ping asks for; in the reply, `instances` says that the container list is complete."""

    stats: bool = False
    resources: bool = False
    instances: bool = False


class PingRequest(msgspec.Struct):
    options: PingOptions | None = None


class PhysicalHostElement(msgspec.Struct, rename="camel", tag_field="type", tag="physicalHost", kw_only=True):
    uuid: str
    name: str
    kind: str = "physicalHost"


class HostElement(msgspec.Struct, rename="camel", tag_field="type", tag="host", omit_defaults=True, kw_only=True):
    """The host itself. `memory` in bytes, `local_storage_mb` in MB of 10^6 bytes; `info` in MiB, see agent docs."""

    uuid: str
    hostname: str
    physical_host_uuid: str
    labels: dict[str, str] = {}
    create_labels: dict[str, str] = {}
    info: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    api_proxy: str | None = None
    memory: int | None = None
    milli_cpu: int | None = None
    local_storage_mb: int | None = None
    docker_engine_id: str | None = None
    machine_fingerprint: str | None = None
    kind: str = msgspec.field(default_factory=lambda: "docker")


class StoragePoolElement(msgspec.Struct, rename="camel", tag_field="type", tag="storagePool", kw_only=True):
    uuid: str
    name: str
    host_uuid: str
    kind: str = "docker"


class IpAddressElement(msgspec.Struct, rename="camel", tag_field="type", tag="ipAddress", kw_only=True):
    """`addresss` with three s is what the original's server reads."""

    uuid: str
    addresss: str
    host_uuid: str


class HostUuidElement(msgspec.Struct, rename="camel", tag_field="type", tag="hostUuid", kw_only=True):
    """Tells which host the `instance` elements of the same reply belong to."""

    uuid: str


class InstanceElement(msgspec.Struct, rename="camel", tag_field="type", tag="instance", kw_only=True):
    uuid: str
    state: Literal["running", "stopped"]
    docker_id: str
    image: str
    labels: dict[str, str]
    created: int


PingElement = (
    PhysicalHostElement | HostElement | StoragePoolElement | IpAddressElement | HostUuidElement | InstanceElement
)


class PingReply(msgspec.Struct):
    """The `data` of a ping's reply. The element types are told apart by their `type` key."""

    resources: list[PingElement] = []
    options: PingOptions = msgspec.field(default_factory=PingOptions)


_request_decoder = msgspec.json.Decoder(Request, strict=False)
_encoder = msgspec.json.Encoder()


def decode_request(frame: str | bytes) -> Request:
    """Parses one frame. Raises `msgspec.DecodeError` for what is not an event."""
    return _request_decoder.decode(frame)


def encode(message: msgspec.Struct) -> bytes:
    """The wire form of any message of this module."""
    return _encoder.encode(message)
