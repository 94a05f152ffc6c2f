"""How a world travels: first everything, then changes. One frame is one JSON document.

On the server's WebSocket a frame is a text message; on the metadata service's local stream it is a line. A frame
carries ``epoch``, which says whose numbering ``revision`` belongs to: a follower that names both when it connects
again gets the changes since, or everything when the sender no longer knows them. ``host`` (the uuid of the receiver's
own host) comes with everything and whenever it changes.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from drover.client.world.objects import Object

LARGE_FRAME = 256 * 1024
"""Bytes of a frame after which a follower tidies its memory up: everything, where that is much."""


class Key(NamedTuple):
    """Which object: its ``metadata_kind`` and its key."""

    kind: str
    key: str


class Full(msgspec.Struct, frozen=True, tag_field="frame", tag="full"):
    """All objects as of ``revision``; whatever is not among them does not exist."""

    epoch: str
    revision: int
    objects: tuple[Object, ...]
    host: str | None = None


class Change(msgspec.Struct, frozen=True, tag_field="frame", tag="change"):
    """What differs between revision ``since`` and ``revision``: objects as they are now, and those that are gone."""

    epoch: str
    since: int
    revision: int
    changed: tuple[Object, ...] = ()
    gone: tuple[Key, ...] = ()
    host: str | None = None


Frame = Full | Change

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(Frame)


def encode_frame(frame: Frame) -> bytes:
    return _ENCODER.encode(frame)


def decode_frame(data: bytes | str) -> Frame:
    """Raises msgspec.DecodeError (ValidationError included) for anything that is no frame."""
    return _DECODER.decode(data)
