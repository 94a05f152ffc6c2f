"""A resource as the API shows it.

Types and fields come from the server's schemas and differ between servers and roles, so a resource keeps its
fields as a mapping; what every resource has (id, type, state, links, actions, transitioning) is typed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Resource(Mapping[str, Any]):
    """One resource; `resource["imageUuid"]` and `resource.get(...)` read its fields, including the typed ones."""

    fields: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def id(self) -> str:
        return str(self.fields.get("id") or "")

    @property
    def type(self) -> str:
        return str(self.fields.get("type") or "")

    @property
    def base_type(self) -> str:
        return str(self.fields.get("baseType") or self.type)

    @property
    def name(self) -> str:
        return str(self.fields.get("name") or "")

    @property
    def state(self) -> str:
        return str(self.fields.get("state") or "")

    @property
    def health_state(self) -> str:
        return str(self.fields.get("healthState") or "")

    @property
    def shown_state(self) -> str:
        """The state that lists show: health while the resource is active, else the state itself."""
        return self.health_state if self.state == "active" and self.health_state else self.state

    @property
    def transitioning(self) -> bool:
        return self.fields.get("transitioning") == "yes"

    @property
    def failed(self) -> bool:
        """The last process of the resource ended in an error."""
        return self.fields.get("transitioning") == "error"

    @property
    def transitioning_message(self) -> str:
        return str(self.fields.get("transitioningMessage") or "")

    @property
    def gone(self) -> bool:
        return self.state in ("removed", "purging", "purged") or bool(self.fields.get("removed"))

    @property
    def links(self) -> Mapping[str, str]:
        return self.mapping("links")

    @property
    def actions(self) -> Mapping[str, str]:
        """Actions that the server offers now; subscriptions may carry them as `actionLinks`."""
        return self.mapping("actions") or self.mapping("actionLinks")

    @property
    def label(self) -> str:
        """How messages name the resource: `service web (1s7)`."""
        return f"{self.type} {self.name} ({self.id})" if self.name else f"{self.type} {self.id}"

    def mapping(self, key: str) -> Mapping[str, Any]:
        """The object in `key`; empty when the field is absent, null or no object."""
        value = self.fields.get(key)
        return value if isinstance(value, Mapping) else EMPTY

    def sequence(self, key: str) -> list[Any]:
        """The list in `key`; empty when the field is absent, null or no list."""
        value = self.fields.get(key)
        return value if isinstance(value, list) else []

    def text(self, key: str) -> str:
        """The field as text; empty when absent or null."""
        value = self.fields.get(key)
        return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a collection; `next` is the address of the following page, or None at the end."""

    items: tuple[Resource, ...]
    next: str | None
    actions: Mapping[str, str] = field(default_factory=dict)


def parse_page(body: Any) -> Page:
    """Read a collection document. Raises ValueError when `body` is not one."""
    if not isinstance(body, dict) or not isinstance(body.get("data"), list):
        raise ValueError("the answer is no collection: is the address that of an API server?")
    pagination = body.get("pagination") or {}
    following = pagination.get("next") if pagination.get("partial", True) else None
    return Page(
        items=tuple(Resource(item) for item in body["data"] if isinstance(item, dict)),
        next=following if isinstance(following, str) and following else None,
        actions=body.get("actions") or {},
    )
