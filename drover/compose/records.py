"""Decoders for nested sections, derived from the structs in `model`: the struct is the only list of their keys."""

import difflib
from collections.abc import Mapping as MappingABC
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from drover.compose import values
from drover.compose.errors import AlreadyReported, Invalid
from drover.compose.nodes import Mapping, Node, Sequence, is_null
from drover.compose.values import Decoder, Field

_SCALARS: dict[Any, Decoder] = {int: values.integer, str: values.any_text, bool: values.boolean}


def record(struct: type[msgspec.Struct], *, ignored: tuple[str, ...] = ()) -> Decoder:
    """A decoder of maps with the keys of `struct`.

    Keys nobody knows are warnings, not errors: such sections were never checked in Rancher 1.6, and public catalogs
    have stray keys in them. `ignored` lists keys that are known to mean nothing.
    """

    def decode(node: Node, field: Field) -> msgspec.Struct:
        if not isinstance(node, Mapping):
            raise field.wrong_type(node, values.MAP)
        fields = _fields(struct)
        found: dict[str, Any] = {}
        refused = False
        for entry in node:
            inner = Field(field.service, f"{field.key}.{entry.key}", field.problems, field.variables)
            known = fields.get(entry.key)
            if known is None:
                if entry.key not in ignored:
                    close = difflib.get_close_matches(entry.key, list(fields), 1)
                    hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(fields)}"
                    field.problems.warn(
                        entry.mark,
                        f"Service '{field.service}' configuration key '{inner.key}' is unknown and has no effect",
                        hint,
                    )
                continue
            if is_null(entry.value):
                continue
            name, decoder = known
            try:
                found[name] = decoder(entry.value, inner)
            except Invalid as invalid:
                field.problems.add(invalid)
                refused = True
        if refused:
            raise AlreadyReported(node.mark)
        return struct(**found)

    return decode


def record_list(struct: type[msgspec.Struct]) -> Decoder:
    """A decoder of lists of such maps."""
    decode_one = record(struct)

    def decode(node: Node, field: Field) -> tuple[msgspec.Struct, ...]:
        if not isinstance(node, Sequence):
            raise field.wrong_type(node, values.LIST)
        found = []
        for item in node.items:
            try:
                found.append(decode_one(item, field))
            except AlreadyReported:
                continue
            except Invalid as invalid:
                field.problems.add(invalid)
        if len(found) < len(node.items):
            raise AlreadyReported(node.mark)
        return tuple(found)

    return decode


@cache
def _fields(struct: type[msgspec.Struct]) -> MappingABC[str, tuple[str, Decoder]]:
    """Compose key -> attribute and decoder. A trailing underscore of an attribute is not part of the key."""
    return {f.name.rstrip("_"): (f.name, _decoder(f.type)) for f in msgspec.structs.fields(struct)}


def _decoder(annotation: Any) -> Decoder:
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(a for a in get_args(annotation) if a is not type(None))
    if get_origin(annotation) is Annotated:
        limits: msgspec.Meta = get_args(annotation)[1]
        assert isinstance(limits.ge, int)
        assert isinstance(limits.le, int)
        return values.integer_within(limits.ge, limits.le)
    if get_origin(annotation) is Literal:
        return values.choice(*get_args(annotation))
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return record(annotation)
    arguments = get_args(annotation)
    if get_origin(annotation) is tuple:
        return values.string_or_list if arguments[0] is str else record_list(arguments[0])
    return values.option_map if arguments[1] is str else values.free_map_with_integers
