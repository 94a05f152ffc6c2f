"""One authenticated request as the rest of the API sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import HTTPConnection

from drover.server.api.caller import Caller
from drover.server.api.urls import Urls
from drover.server.orchestration.context import Context
from drover.server.resources import RoleSchemas, schemas
from drover.server.store import Store

if TYPE_CHECKING:
    from drover.server.api.extensions import Extensions

Query = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Who asks, in which version and project, with which options; and the machinery to answer.

    ``connection`` is None where there is no request, as when a change is rendered for a subscriber.
    """

    context: Context
    extensions: Extensions
    caller: Caller
    urls: Urls
    query: Query = field(default_factory=dict)
    plain_ids: bool = False
    show_removed: bool = False
    action_links: bool = False
    client_ip: str = ""
    connection: HTTPConnection | None = None
    body: Mapping[str, Any] = field(default_factory=dict)  # as it was sent, with what the schema does not know

    @property
    def version(self) -> str:
        return self.urls.version

    @property
    def store(self) -> Store:
        return self.context.store

    @property
    def schemas(self) -> RoleSchemas:
        return schemas(self.urls.version, self.caller.role)

    def flag(self, name: str) -> bool | None:
        """A query parameter that says true or false; None when it says neither."""
        value = self.query.get(name, ("",))[0].lower()
        return {"true": True, "false": False}.get(value)
