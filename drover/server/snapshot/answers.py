"""A snapshot in the form that the metadata containers of Rancher 1.6 download.

JSON objects are written back to back without anything between them, as raw DEFLATE in two parts: one for all hosts of
the environment, which ends with a sync flush and can be kept, and one for each, which ends the stream. Unlike in our
own frames, absent values are null here, relations are objects of their own, and the environment's name is lower-cased.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

import msgspec

from drover.client.world import Container, Environment, Host, Key, Object, Service, Stack
from drover.client.world.world import kind_of

SOURCE_REVISION = hashlib.sha256(f"drover {version('drover')}, answers 1".encode()).hexdigest()[:32]
"""Which program made an answer: what an older one made has to be downloaded again."""

_RAW_DEFLATE = -15
_LEVEL = 4
_LAST = "environment"
_ORDER = {"container": 0, "service": 1, "stack": 2, "host": 3, "network": 4, _LAST: 5}

_encode = msgspec.json.Encoder().encode


def version_text(revision: int) -> str:
    return f"{revision}-{SOURCE_REVISION}"


def parse_version(text: str) -> tuple[int, str] | None:
    """Revision and source revision: the last two parts of a version. None for text that is no version."""
    parts = text.rsplit("-", 2)[-2:]
    if len(parts) != 2 or not parts[0].isascii() or not parts[0].isdigit() or len(parts[0]) > 18:
        return None
    return int(parts[0]), parts[1]


class _Rendered(NamedTuple):
    """An object as JSON, and the relations that it has, as JSON objects of their own."""

    source: Object
    text: bytes
    relations: bytes


class Answers:
    """Renders the objects of one environment. What was rendered of an object is kept as long as the object is."""

    def __init__(self) -> None:
        self._rendered: dict[Key, _Rendered] = {}

    def generic(self, own: Mapping[Key, Object], foreign: Mapping[Key, Object]) -> bytes:
        """The part that is the same for all hosts, as JSON: objects by kind, then relations, then the environment."""
        home = next((each for each in own.values() if isinstance(each, Environment)), None)
        present: dict[Key, Object] = {**{key: _at_home(each, home) for key, each in foreign.items()}, **own}
        self._rendered = {key: self._render(key, each) for key, each in present.items()}
        ordered = sorted(self._rendered.items(), key=lambda item: _ORDER[item[0].kind])
        objects = [each.text for key, each in ordered if key.kind != _LAST]
        relations = [each.relations for _, each in ordered if each.relations]
        return b"".join((*objects, *relations, *(each.text for key, each in ordered if key.kind == _LAST)))

    def _render(self, key: Key, each: Object) -> _Rendered:
        known = self._rendered.get(key)
        if known is not None and known.source == each:
            return known
        return _Rendered(each, _encode(plain(each)), b"".join(map(_encode, relations(each))))


def compress_generic(text: bytes) -> bytes:
    """The first part of a body. It can be kept, and continued for any host."""
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW_DEFLATE)
    return deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)


def own_part(revision: int, host: Host | None) -> bytes:
    """The rest of a body, for one host: the version, and what ``self`` is for a client that nobody knows."""
    shown = {"version": version_text(revision), "self": {"host": None if host is None else plain(host)}}
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW_DEFLATE)
    return deflate.compress(_encode({"metadata_kind": "defaultData", **shown})) + deflate.flush(zlib.Z_FINISH)


def plain(each: Object) -> dict[str, Any]:
    """Every field of an object, null where there is nothing to say."""
    shown: dict[str, Any] = {"metadata_kind": kind_of(each), **_fields(each)}
    if isinstance(each, Container):
        del shown["memberships"]
        shown |= {"service_name": None, "stack_name": None, "stack_uuid": None, "links": {}}
    elif isinstance(each, Service):
        del shown["links"]
    elif isinstance(each, Environment):
        shown["name"] = each.name.lower()
        shown["region_name"] = None if each.region_name is None else each.region_name.lower()
    return shown


def _fields(value: msgspec.Struct) -> dict[str, Any]:
    return {name: _deep(getattr(value, name)) for name in value.__struct_fields__}


def _deep(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _fields(value)
    if isinstance(value, tuple):
        return [_deep(each) for each in value]
    return value


def relations(each: Object) -> Iterator[dict[str, Any]]:
    """What the metadata container joins to its tree by itself. A service's links come with its primary alone."""
    if isinstance(each, Container):
        for place in each.memberships:
            yield {
                "metadata_kind": "serviceContainerLink",
                "service_uuid": place.service_uuid,
                "service_name": place.service_name,
                "container_uuid": each.uuid,
            }
        for name, target in each.links.items():
            yield {"metadata_kind": "containerLink", "container_uuid": each.uuid, "key": name, "value": target}
    elif isinstance(each, Service) and each.is_primary:
        for name, alias in each.links.items():
            yield {"metadata_kind": "serviceLink", "service_uuid": each.uuid, "key": name, "value": alias}


def _at_home(each: Object, home: Environment | None) -> Object:
    """Services and stacks of linked environments pass for our own: the original's DNS overlooks them otherwise."""
    if home is None:
        return each
    if isinstance(each, Service):
        return msgspec.structs.replace(each, environment_uuid=home.uuid)
    if isinstance(each, Stack):
        return msgspec.structs.replace(each, environment_uuid=home.uuid, environment_name=home.name)
    return each
