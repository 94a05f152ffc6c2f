"""Names inside API bodies that only the server can turn into ids.

Bodies are built without talking to a server. Where the API wants an id (a service of a rule, a certificate, a secret)
or a server setting, the body holds one of these values instead; the caller looks all of them up first, so that a
missing one is reported before anything is created.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec


class ServiceRef(msgspec.Struct, frozen=True, tag=True):
    """A service; `stack` is None for the stack of the file itself."""

    name: str
    stack: str | None = None

    def __str__(self) -> str:
        return f"{self.stack}/{self.name}" if self.stack else self.name


class CertificateRef(msgspec.Struct, frozen=True, tag=True):
    """A certificate by name."""

    name: str

    def __str__(self) -> str:
        return self.name


class SecretRef(msgspec.Struct, frozen=True, tag=True):
    """A secret by name."""

    name: str

    def __str__(self) -> str:
        return self.name


class SettingRef(msgspec.Struct, frozen=True, tag=True):
    """The value of a server setting, behind a fixed prefix."""

    name: str
    prefix: str = ""

    def __str__(self) -> str:
        return self.name


Reference: TypeAlias = ServiceRef | CertificateRef | SecretRef | SettingRef
_REFERENCES = (ServiceRef, CertificateRef, SecretRef, SettingRef)

#: JSON-like values with references inside.
Body: TypeAlias = dict[str, Any]


def service_ref(text: str, *, stack: str) -> ServiceRef:
    """`name` or `stack/name`; the file's own stack counts as none."""
    owner, slash, name = text.strip().rpartition("/")
    return ServiceRef(name, owner if slash and owner != stack else None)


def references(value: Any) -> Iterator[Reference]:
    """Every reference in a body, each as often as it occurs."""
    if isinstance(value, _REFERENCES):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from references(inner)


def resolve(value: Any, lookup: Callable[[Reference], Any]) -> Any:
    """The body with each reference replaced by what `lookup` gives; a setting gets its prefix."""
    if isinstance(value, SettingRef):
        found = str(lookup(value))
        return found if found.startswith(value.prefix) else value.prefix + found
    if isinstance(value, _REFERENCES):
        return lookup(value)
    if isinstance(value, Mapping):
        return {key: resolve(inner, lookup) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [resolve(inner, lookup) for inner in value]
    return value


def to_wire(value: Any) -> Any:
    """A typed value as JSON-like values: structs as maps, tuples as lists."""
    return _as_lists(msgspec.to_builtins(value))


def _as_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_lists(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_lists(inner) for inner in value]
    return value
