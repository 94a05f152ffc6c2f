"""What applying a compose project needs of "the API", whichever side of the wire it is on.

The command line applies projects through requests, the server does the same inside its own process. Both give an
implementation of this protocol and share everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from drover.client.api import ApiClient, Filters
from drover.client.resource import Resource
from drover.client.wait import Goal, Watcher


class ResourceApi(Protocol):
    """Reads and writes in one environment. Errors are those of `drover.client.errors`."""

    async def find(self, type_name: str, filters: Filters) -> list[Resource]:
        """All live resources of a type that match."""
        ...

    async def setting(self, name: str) -> str:
        """The active value of a server setting; empty when there is none."""
        ...

    async def create(self, type_name: str, body: Mapping[str, Any]) -> Resource: ...

    async def update(self, resource: Resource, changes: Mapping[str, Any]) -> Resource: ...

    async def delete(self, resource: Resource) -> None: ...

    async def action(self, resource: Resource, name: str, body: Mapping[str, Any] | None = None) -> Resource: ...

    async def wait(self, resource: Resource, goal: Goal) -> Resource:
        """The resource once `goal` holds; raises TransitionFailed, WaitTimeout or NotFound."""
        ...


class RemoteApi:
    """The protocol over a client; waits share one subscription. Use as an async context manager."""

    def __init__(
        self, client: ApiClient, *, timeout: float, on_change: Callable[[Resource], None] | None = None
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._watcher: Watcher = client.watch(on_change=on_change)

    async def __aenter__(self) -> RemoteApi:
        await self._watcher.__aenter__()
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._watcher.__aexit__(*failure)

    async def find(self, type_name: str, filters: Filters) -> list[Resource]:
        return await self._client.list(type_name, {"removed_null": 1, **filters})

    async def setting(self, name: str) -> str:
        found = await self._client.unscoped().try_get("setting", name)
        return (found.text("activeValue") or found.text("value")) if found is not None else ""

    async def create(self, type_name: str, body: Mapping[str, Any]) -> Resource:
        return await self._client.create(type_name, body)

    async def update(self, resource: Resource, changes: Mapping[str, Any]) -> Resource:
        return await self._client.update(resource, changes)

    async def delete(self, resource: Resource) -> None:
        await self._client.delete(resource)

    async def action(self, resource: Resource, name: str, body: Mapping[str, Any] | None = None) -> Resource:
        return await self._client.action(resource, name, body)

    async def wait(self, resource: Resource, goal: Goal) -> Resource:
        if goal(resource):
            return resource
        return await self._watcher.until(resource, goal, timeout=self._timeout)
