"""What exists: the resource types of the API, declared as data. Nothing here acts on a resource."""

from __future__ import annotations

from functools import cache

from drover.server.resources._load import load_processes, load_resources
from drover.server.resources.catalog import Catalog
from drover.server.resources.model import Access, Action, Field, Link, Process, Resource
from drover.server.resources.schema import RoleSchemas, Schema, SchemaField

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
    processes, auto_activated = load_processes()
    return Catalog(load_resources(version), processes, auto_activated)


@cache
def schemas(version: str, role: str) -> RoleSchemas:
    """The schemas that a role sees. The role ``environment`` has the same ones in both versions."""
    if role == "environment":
        version = "v2-beta"
    return RoleSchemas(version, role, catalog(version))
