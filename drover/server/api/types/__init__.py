"""What the declarations cannot say about types: rules, handlers and computed fields, one module a family."""

from __future__ import annotations

from drover.server.api.extensions import Extensions
from drover.server.orchestration.context import Context


def register_types(extensions: Extensions, context: Context) -> None:
    """Put every family's rules into the registries."""
