"""The API client: resources by type, in one project or in the whole server.

The addresses follow the conventions of the Rancher 1.6 API, so no schema document has to be fetched before the
first request: a command that lists something costs exactly one request. Actions and links are taken from the
resources themselves, as the server offers them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from drover.client.errors import Ambiguous, ClientError, NoMatch, NotFound
from drover.client.resource import Resource, parse_page
from drover.client.subscribe import Notice, Subscription
from drover.client.transport import DEFAULT_TIMEOUT, Credentials, Tracer, Transport
from drover.client.urls import parse_address, plural, segment, with_query
from drover.client.wait import Goal, Watcher, settled

FilterValue = str | int | bool | Sequence[str]
Resources = list[Resource]
Filters = Mapping[str, FilterValue]

PAGE_SIZE = 1000
# A server that keeps sending `next` would otherwise hold the client for ever.
MAX_PAGES = 10_000

RESOURCE_CHANGE = "resource.change"
_PROJECT_ID = re.compile(r"1a\d+")


class ApiClient:
    """A client of one server. Use as an async context manager.

    `url` may be the bare server or any address below it; a project named there counts as `project`. `project` is
    an id (`1a5`) or a name; without it the only project that the caller sees is taken. `token` is a login token
    and an alternative to the two keys. `timeout` bounds one request, in seconds.
    """

    def __init__(
        self,
        url: str,
        access_key: str | None = None,
        secret_key: str | None = None,
        project: str | None = None,
        token: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        trace: Tracer | None = None,
    ) -> None:
        self.address = parse_address(url)
        self._wanted_project = project or self.address.project
        self._project_id: str | None = None
        self._resolving = asyncio.Lock()
        self._scoped = True
        self._transport = Transport(Credentials(access_key, secret_key, token), timeout=timeout, trace=trace)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    @property
    def transport(self) -> Transport:
        return self._transport

    def unscoped(self) -> ApiClient:
        """The same connection without a project: accounts, settings, projects themselves."""
        return self._view(scoped=False, project=None)

    def in_project(self, project: str) -> ApiClient:
        """The same connection in another project, given by id or name."""
        return self._view(scoped=True, project=project)

    def _view(self, *, scoped: bool, project: str | None) -> ApiClient:
        view = object.__new__(ApiClient)
        view.address = self.address
        view._wanted_project = project
        view._project_id = None
        view._resolving = asyncio.Lock()
        view._scoped = scoped
        view._transport = self._transport
        return view

    async def project_id(self) -> str:
        """The id of the project in use; looked up once when only a name is known.

        Raises NoMatch for an unknown name, Ambiguous when there are several projects and none was chosen.
        """
        async with self._resolving:
            if self._project_id is None:
                self._project_id = await self._find_project()
            return self._project_id

    async def list(
        self,
        type_name: str,
        filters: Filters | None = None,
        *,
        include: str | None = None,
        limit: int | None = None,
    ) -> Resources:
        """All resources of a type that match, over all pages; `limit` stops after so many."""
        return [item async for item in self.iterate(type_name, filters, include=include, limit=limit)]

    async def iterate(
        self,
        type_name: str,
        filters: Filters | None = None,
        *,
        include: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Resource]:
        """Resources page by page, for collections that need not be held at once."""
        parameters = query_parameters(filters)
        if not any(name == "limit" for name, _ in parameters):
            parameters.append(("limit", str(min(limit, PAGE_SIZE) if limit else PAGE_SIZE)))
        if include is not None:
            parameters.append(("include", include))
        url = with_query(await self.collection_url(type_name), parameters)
        remaining = limit if limit is not None else -1
        async for resource in self._pages(url):
            if remaining == 0:
                return
            remaining -= 1
            yield resource

    async def find(self, type_name: str, filters: Filters) -> Resource | None:
        """The only resource that matches, or None. Raises Ambiguous when several do."""
        found = await self.list(type_name, filters, limit=2)
        if len(found) > 1:
            raise Ambiguous(f"several {plural(type_name)} match {dict(filters)}: use the id")
        return found[0] if found else None

    async def get(self, type_name: str, resource_id: str) -> Resource:
        """One resource by id. Raises NotFound."""
        return await self._resource("GET", await self.resource_url(type_name, resource_id))

    async def try_get(self, type_name: str, resource_id: str) -> Resource | None:
        """Like `get`, but None when there is no such resource."""
        try:
            return await self.get(type_name, resource_id)
        except NotFound:
            return None

    async def refresh(self, resource: Resource) -> Resource:
        """The resource as it is now."""
        return await self._resource("GET", await self._self_url(resource))

    async def create(self, type_name: str, body: Mapping[str, Any] | None = None) -> Resource:
        """Create a resource; the answer is usually still transitioning (see `wait`)."""
        return await self._resource("POST", await self.collection_url(type_name), body or {})

    async def update(self, resource: Resource, changes: Mapping[str, Any]) -> Resource:
        """Change the given fields; absent fields stay as they are."""
        return await self._resource("PUT", await self._self_url(resource), changes)

    async def delete(self, resource: Resource) -> Resource | None:
        """Start the removal. The answer is the resource in state `removing`, or None for types without states."""
        answer = await self._transport.request("DELETE", await self._self_url(resource))
        return Resource(answer) if isinstance(answer, dict) else None

    async def action(self, resource: Resource, name: str, body: Mapping[str, Any] | None = None) -> Resource:
        """Run an action; the answer is the action's output, for most actions the resource itself.

        Whether the action is possible is left to the server, whose state is newer than `resource`.
        """
        link = resource.actions.get(name)
        url = self.address.rebase(link) if link else f"{await self._self_url(resource)}/?action={segment(name)}"
        answer = await self._transport.request("POST", url, body=body)
        return Resource(answer) if isinstance(answer, dict) else Resource()

    async def follow(self, resource: Resource, link: str) -> Resource | Resources:
        """What a link of the resource leads to: a collection as a list, else one resource."""
        target = resource.links.get(link)
        if target is None:
            raise ClientError(f"{resource.label} has no link {link!r}")
        url = self.address.rebase(target)
        answer = await self._transport.request("GET", url)
        if isinstance(answer, dict) and answer.get("type") == "collection":
            return [item async for item in self._pages(url, first=answer)]
        return Resource(answer if isinstance(answer, dict) else {})

    async def related(self, resource: Resource, link: str) -> Resources:
        """Like `follow`, for links that lead to a collection."""
        found = await self.follow(resource, link)
        return found if isinstance(found, list) else [found]

    async def download(self, resource: Resource, link: str) -> bytes:
        """The raw bytes behind a link (an archive or a script)."""
        target = resource.links.get(link)
        if target is None:
            raise ClientError(f"{resource.label} has no link {link!r}")
        return await self._transport.download(self.address.rebase(target))

    async def schemas(self) -> Resources:
        """What the caller may see and do: one resource a type."""
        return await self.list("schema")

    def subscribe(self, event_names: Sequence[str] = (RESOURCE_CHANGE,)) -> Subscription:
        """An async iterator of events and resync marks; see `Subscription`."""
        return Subscription(self._transport, self._subscribe_url, event_names)

    async def wait(
        self,
        resource: Resource,
        goal: Goal = settled,
        *,
        timeout: float = 600.0,
        on_change: Callable[[Resource], None] | None = None,
    ) -> Resource:
        """Wait until `goal` holds, for at most `timeout` seconds; the resource as it is then.

        Raises TransitionFailed when the server gives up, WaitTimeout when time runs out. To wait for several
        resources over one subscription use `watch`.
        """
        if goal(resource):
            return resource
        async with self.watch(on_change=on_change) as watcher:
            return await watcher.until(resource, goal, timeout=timeout)

    def watch(self, *, on_change: Callable[[Resource], None] | None = None) -> Watcher:
        """Follow many resources over one subscription; use as an async context manager."""
        return Watcher(self, on_change=on_change)

    async def collection_url(self, type_name: str) -> str:
        return f"{await self._base()}/{plural(type_name)}"

    async def resource_url(self, type_name: str, resource_id: str) -> str:
        return f"{await self.collection_url(type_name)}/{segment(resource_id)}"

    async def _self_url(self, resource: Resource) -> str:
        own = resource.links.get("self")
        if own:
            return self.address.rebase(own)
        return await self.resource_url(resource.type, resource.id)

    async def _base(self) -> str:
        return self.address.scope(await self.project_id() if self._scoped else None)

    async def _subscribe_url(self, event_names: Sequence[str]) -> str:
        return with_query(f"{await self._base()}/subscribe", [("eventNames", name) for name in event_names])

    async def _resource(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> Resource:
        answer = await self._transport.request(method, url, body=body)
        if not isinstance(answer, dict):
            raise ClientError(f"{method} {url} did not answer with a resource")
        return Resource(answer)

    async def _pages(self, url: str, *, first: Any = None) -> AsyncIterator[Resource]:
        answer = first if first is not None else await self._transport.request("GET", url)
        for _ in range(MAX_PAGES):
            try:
                page = parse_page(answer)
            except ValueError as error:
                raise ClientError(f"{url}: {error}") from error
            for item in page.items:
                yield item
            if page.next is None:
                return
            answer = await self._transport.request("GET", self.address.rebase(page.next))
        raise ClientError(f"{url} has more than {MAX_PAGES} pages")

    async def _find_project(self) -> str:
        wanted = self._wanted_project
        if wanted is not None and _PROJECT_ID.fullmatch(wanted):
            return wanted
        projects = await self.unscoped().list("project")
        if wanted is None:
            if len(projects) == 1:
                return projects[0].id
            if not projects:
                raise NoMatch("the server shows no environment for these credentials: log in or check the API key")
            names = ", ".join(sorted(project.name for project in projects))
            raise Ambiguous(f"there are several environments ({names}): choose one with --environment")
        matches = [project for project in projects if wanted in (project.id, project.name)]
        matches = matches or [project for project in projects if project.name.lower() == wanted.lower()]
        if not matches:
            raise NoMatch(f"there is no environment {wanted!r} for these credentials")
        if len(matches) > 1:
            ids = ", ".join(project.id for project in matches)
            raise Ambiguous(f"several environments are named {wanted!r}: use one of the ids {ids}")
        return matches[0].id


def query_parameters(filters: Filters | None) -> list[tuple[str, str]]:
    """Filters as query parameters; a list repeats the parameter (all of its values must match)."""
    parameters: list[tuple[str, str]] = []
    for name, value in (filters or {}).items():
        if isinstance(value, bool):
            parameters.append((name, "true" if value else "false"))
        elif isinstance(value, str | int):
            parameters.append((name, str(value)))
        else:
            parameters.extend((name, str(part)) for part in value)
    return parameters


__all__ = ["ApiClient", "FilterValue", "Filters", "Notice", "query_parameters"]
