"""What one role sees of the declarations: the schemas of the API.

A role's view is resolved type by type when first asked for, and kept: most requests touch a handful of the types,
and most field sets are the same for several roles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from functools import cache
from operator import attrgetter
from types import MappingProxyType
from typing import Literal

from drover.server.resources.access import READERS, SILENT
from drover.server.resources.catalog import Catalog
from drover.server.resources.model import EMPTY, Access, Action, Field, Link, Resource

ALL: Literal["*"] = "*"

# v1 calls a stack an environment; inside the server it is a stack.
V1_TYPES = MappingProxyType({"environment": "stack"})
V1_FIELDS = MappingProxyType({"environmentId": "stackId"})


@dataclass(frozen=True, slots=True, eq=False)
class SchemaField(Field):
    """A declared field together with what one role may do with it."""

    name: str = ""
    stored_as: str = ""  # the name inside the server; another one in v1 only (environmentId: stackId)
    readable: bool = False
    create: bool = False
    update: bool = False
    read_on_create_only: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """One type as one role sees it in one API version."""

    id: str
    plural: str
    base_type: str
    parent: str | None
    children: tuple[str, ...]
    id_prefix: str
    stored_type: str | None
    collection_methods: tuple[str, ...]
    resource_methods: tuple[str, ...]
    fields: Mapping[str, SchemaField]
    actions: Mapping[str, Action]
    filters: Mapping[str, tuple[str, ...]]
    extra_filters: Mapping[str, tuple[str, ...]]  # conditions of a list that are no fields
    links: Mapping[str, Link]


class RoleSchemas:
    """The schemas of one role in one API version; iteration is in the order of type names."""

    def __init__(self, version: str, role: str, catalog: Catalog) -> None:
        self.version = version
        self.role = role
        self._catalog = catalog
        self._access = {
            name: catalog.resources[name].access[role]
            for name in sorted(catalog.resources)
            if role in catalog.resources[name].access
        }
        self._resolved: dict[str, Schema] = {}

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __len__(self) -> int:
        return len(self._access)

    def __iter__(self) -> Iterator[Schema]:
        return (self._schema(name) for name in self._access)

    def get(self, name: str) -> Schema | None:
        """The schema of a type by singular or plural, in any case; ``None`` when the role does not see it."""
        resource = self._catalog.find(name)
        if resource is None or resource.name not in self._access:
            return None
        return self._schema(resource.name)

    def _schema(self, name: str) -> Schema:
        if name not in self._resolved:
            self._resolved[name] = self._resolve(self._catalog.resource(name), self._access[name])
        return self._resolved[name]

    def _resolve(self, resource: Resource, access: Access) -> Schema:
        fields = _fields(resource, self.role, access, V1_FIELDS if self.version == "v1" else EMPTY)
        return Schema(
            id=resource.name,
            plural=resource.plural,
            base_type=self._visible_base(resource),
            parent=resource.parent if resource.parent in self._access else None,
            children=tuple(child for child in self._catalog.children(resource.name) if child in self._access),
            id_prefix=resource.id_prefix,
            stored_type=self._stored_type(resource),
            collection_methods=access.collection_methods,
            resource_methods=access.resource_methods,
            fields=MappingProxyType(fields),
            actions=self._actions(resource, access),
            filters=MappingProxyType({name: item.filters for name, item in fields.items() if item.filters}),
            extra_filters=resource.filters,
            links=self._links(resource, fields),
        )

    def _visible_base(self, resource: Resource) -> str:
        name = resource.name
        while (parent := self._catalog.resource(name).parent) and parent in self._access:
            name = parent
        return name

    def _stored_type(self, resource: Resource) -> str | None:
        if not resource.stored:
            return None
        base = self._catalog.stored_base(resource.name)
        return V1_TYPES.get(base, base) if self.version == "v1" else base

    def _links(self, resource: Resource, fields: Mapping[str, SchemaField]) -> Mapping[str, Link]:
        """Links to types that the role sees, through fields that it may read."""
        readable = {field.stored_as for field in fields.values() if field.readable}
        return MappingProxyType(
            {
                name: link
                for name, link in resource.links.items()
                if link.type in self._access and (link.kind != "reference" or link.field in readable)
            }
        )

    def _actions(self, resource: Resource, access: Access) -> Mapping[str, Action]:
        granted = () if self.role in SILENT else access.actions
        return MappingProxyType(
            {
                name: action
                for name, action in resource.actions.items()
                if (self.role in action.roles if action.roles else granted == ALL or name in granted)
            }
        )


def _fields(resource: Resource, role: str, access: Access, stored_names: Mapping[str, str]) -> dict[str, SchemaField]:
    if access.grants is None:
        granted = {name: _letters(field, role) for name, field in resource.fields.items()}
    else:
        granted = {name: letters for letters, names in access.grants.items() for name in names}
    return {
        name: _schema_field(
            resource.fields[name],
            name,
            stored_names.get(name, name),
            granted[name],
            tuple(access.overrides.get(name, EMPTY).items()),
        )
        for name in sorted(granted)
        if granted[name] and not resource.fields[name].internal
    }


def _letters(field: Field, role: str) -> str:
    letters = field.also.get(role)
    if letters is None:
        letters = "rcu" if role == "superadmin" else field.access
    return "".join(letter for letter in letters if letter in "ro") if role in READERS else letters


_ATTRIBUTES = tuple(attribute.name for attribute in dataclass_fields(Field))
_attributes_of = attrgetter(*_ATTRIBUTES)


@cache
def _schema_field(
    field: Field, name: str, stored_as: str, letters: str, overrides: tuple[tuple[str, object], ...]
) -> SchemaField:
    values = dict(zip(_ATTRIBUTES, _attributes_of(field), strict=True)) | dict(overrides)
    return SchemaField(
        **values,
        name=name,
        stored_as=stored_as,
        readable="r" in letters,
        create="c" in letters,
        update="u" in letters,
        read_on_create_only="o" in letters,
    )
