"""What the declarations cannot say about types: rules, handlers and computed fields, one module a family."""

from __future__ import annotations

from drover.server.api.extensions import Extensions
from drover.server.api.types import (
    containers,
    documents,
    endpoints,
    hosts,
    networks,
    processes,
    project_templates,
    service_links,
    services,
    settings,
    stacks,
    storage,
)
from drover.server.orchestration.context import Context

_FAMILIES = (
    containers,
    documents,
    endpoints,
    hosts,
    networks,
    processes,
    project_templates,
    service_links,
    services,
    settings,
    stacks,
    storage,
)


def register_types(extensions: Extensions, context: Context) -> None:
    """Put the rules of every family into the registries; what needs the vault or logins is installed by ``access``."""
    for family in _FAMILIES:
        family.register(extensions)
