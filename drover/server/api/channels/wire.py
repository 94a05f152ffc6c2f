"""Bus events as text frames for subscribers, and back.

The original's agent decodes strictly: lists in ``previousIds`` or a number in ``transitioningProgress`` make it drop
the whole event, so neither is ever sent to it. The qualifier of a topic (``;agent=5``) stays inside the server.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from drover.common.clock import now_ms
from drover.server.bus import Event

_encode = msgspec.json.encode


class _Request(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Fields that are null for lack of a resource are sent as null: subscribers look for them."""

    id: str
    name: str
    reply_to: str | None = None
    resource_id: str | None
    resource_type: str | None
    data: Any
    time: int | None = None
    timeout_millis: int | None = None
    publisher: str | None = None
    context: dict[str, Any] | None = None


def encode_event(event: Event) -> bytes:
    return _encode(
        _Request(
            id=event.id,
            name=event.name.partition(";")[0],
            reply_to=event.reply_to,
            resource_id=event.resource_id,
            resource_type=event.resource_type,
            data=event.data,
            time=event.time,
            timeout_millis=event.timeout_millis,
            publisher=event.publisher,
            context=event.context,
        )
    )


def ping_frame() -> bytes:
    """What every subscriber gets at once and then every few seconds; its absence means that the connection is dead."""
    return _encode(
        {
            "id": str(uuid.uuid4()),
            "name": "ping",
            "resourceId": None,
            "resourceType": None,
            "data": {"options": {}, "resources": []},
            "time": now_ms(),
        }
    )


def logout_frame() -> bytes:
    return _encode({"name": "logout"})


class _Published(msgspec.Struct, rename="camel", kw_only=True):
    """The body of a publish, tolerant as the original: ids and names may be text or lists, progress text or number."""

    name: str
    id: str | None = None
    previous_ids: list[str] | str | None = None
    previous_names: list[str] | str | None = None
    resource_id: str | int | None = None
    resource_type: str | None = None
    publisher: str | None = None
    time: int | float | None = None
    data: Any = None
    transitioning: str | None = None
    transitioning_message: str | None = None
    transitioning_internal_message: str | None = None
    transitioning_progress: int | float | str | None = None


class _Frame(msgspec.Struct):
    publish: _Published


_frame_decoder = msgspec.json.Decoder(_Frame, strict=False)


def decode_frame(text: str | bytes) -> Event:
    """An event that an agent sent on its WebSocket. Raises msgspec.DecodeError (with what is wrong)."""
    return _event(_frame_decoder.decode(text))


def published_event(body: dict[str, Any]) -> Event:
    """An event from the body of ``POST publish``. Raises msgspec.ValidationError."""
    return _event(_Frame(msgspec.convert(body, _Published, strict=False)))


def _event(frame: _Frame) -> Event:
    body = frame.publish
    transitioning = body.transitioning if body.transitioning in ("yes", "no", "error") else None
    return Event(
        name=body.name,
        id=body.id or str(uuid.uuid4()),
        previous_ids=_as_list(body.previous_ids),
        previous_names=_as_list(body.previous_names),
        resource_id=None if body.resource_id is None else str(body.resource_id),
        resource_type=body.resource_type,
        publisher=body.publisher,
        time=None if body.time is None else int(body.time),
        data=body.data,
        transitioning=transitioning,  # type: ignore[arg-type]
        transitioning_message=body.transitioning_message,
        transitioning_internal_message=body.transitioning_internal_message,
        transitioning_progress=_as_percent(body.transitioning_progress),
    )


def _as_list(value: list[str] | str | None) -> list[str] | None:
    if value is None:
        return None
    return [value] if isinstance(value, str) else value


def _as_percent(value: float | str | None) -> int | None:
    try:
        return None if value is None else int(float(value))
    except ValueError:
        return None
