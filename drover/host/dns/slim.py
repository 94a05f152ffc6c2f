"""Frames without what no name is made from.

A host's DNS process lives for ever and holds every container of the environment; labels and the like are two thirds
of what a container takes. Here they are passed over while a frame is read, so they never take memory at all.
"""

from __future__ import annotations

import msgspec

from drover.client.world import Change, Container, Environment, Full, Host, Key, Membership, Network, Service, Stack
from drover.client.world.frames import Frame
from drover.client.world.objects import Object


class _Container(msgspec.Struct, frozen=True, tag_field="metadata_kind", tag="container", gc=False):
    """The fields of a container that the directory reads."""

    uuid: str
    name: str | None = None
    state: str = ""
    environment_uuid: str = ""
    host_uuid: str | None = None
    primary_ip: str | None = None
    links: dict[str, str] = {}
    create_index: int | None = None
    health_state: str | None = None
    network_from_container_uuid: str | None = None
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    memberships: tuple[Membership, ...] = ()


_Object = _Container | Service | Stack | Host | Network | Environment


class _Full(msgspec.Struct, frozen=True, tag_field="frame", tag="full"):
    epoch: str
    revision: int
    objects: tuple[_Object, ...]
    host: str | None = None


class _Change(msgspec.Struct, frozen=True, tag_field="frame", tag="change"):
    epoch: str
    since: int
    revision: int
    changed: tuple[_Object, ...] = ()
    gone: tuple[Key, ...] = ()
    host: str | None = None


_DECODER: msgspec.json.Decoder[_Full | _Change] = msgspec.json.Decoder(_Full | _Change)
_FIELDS = _Container.__struct_fields__


def decode_slim(data: bytes) -> Frame:
    """The frame with its containers stripped. Raises msgspec.DecodeError for what is no frame."""
    frame = _DECODER.decode(data)
    if isinstance(frame, _Full):
        return Full(frame.epoch, frame.revision, tuple(map(_whole, frame.objects)), frame.host)
    changed = tuple(map(_whole, frame.changed))
    return Change(frame.epoch, frame.since, frame.revision, changed, frame.gone, frame.host)


def _whole(each: _Object) -> Object:
    """The type that everybody knows, with its defaults where nothing was read."""
    if not isinstance(each, _Container):
        return each
    return Container(**{name: getattr(each, name) for name in _FIELDS})
