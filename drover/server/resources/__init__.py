"""What exists: the resource types of the API, declared as data. Nothing here acts on a resource."""

from __future__ import annotations

from functools import cache

from drover.server.resources.catalog import Catalog
from drover.server.resources.links import linked
from drover.server.resources.model import Access, Action, Field, Link, Process, Resource
from drover.server.resources.processes import AUTO_ACTIVATED, PROCESSES
from drover.server.resources.schema import RoleSchemas, Schema, SchemaField
from drover.server.resources.types import TYPES, legacy
from drover.server.resources.types.version1 import ABSENT, CHANGES, LINKS, RESTORABLE
from drover.server.resources.version1 import derived, with_stored_names

__all__ = [
    "Access",
    "Action",
    "Catalog",
    "Field",
    "Link",
    "Process",
    "Resource",
    "RoleSchemas",
    "Schema",
    "SchemaField",
    "catalog",
    "schemas",
]

VERSIONS = ("v1", "v2-beta")


@cache
def catalog(version: str = "v2-beta") -> Catalog:
    """Every declared type and process. The server works with ``v2-beta``; ``v1`` is a view derived from it."""
    if version not in VERSIONS:
        raise ValueError(f"no API version {version!r}; there are {', '.join(VERSIONS)}")
    types = linked(TYPES) if version == "v2-beta" else _types_of_v1()
    return Catalog(types, PROCESSES.values(), AUTO_ACTIVATED)


def _types_of_v1() -> list[Resource]:
    types = derived((*TYPES, *legacy.TYPES), CHANGES, ABSENT, RESTORABLE)
    return [with_stored_names(item) for item in linked(types, LINKS)]


@cache
def schemas(version: str, role: str) -> RoleSchemas:
    """The schemas that a role sees. The role ``environment`` has the same ones in both versions."""
    if role == "environment":
        version = "v2-beta"
    return RoleSchemas(version, role, catalog(version))
