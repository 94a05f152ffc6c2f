"""``configcontent/<item>``: what the server generates for one agent, and the agent's word that it took it over.

Source: the configuration items of Rancher 1.6, whose metadata container still asks for them. A room that has something
for agents registers it under a name; which agents may have it is the item's own business, and to everybody else it
does not exist.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from drover.server.api.caller import Authenticator, Caller
from drover.server.api.errors import ApiError, forbidden, not_found
from drover.server.api.ids import parse_row_id
from drover.server.api.responses import error_response
from drover.server.orchestration.context import Context
from drover.server.store import Record

Producer = Callable[[Record], Awaitable[bytes | None]]

_PATHS = ("/{version}/configcontent/{name}", "/{version}/projects/{project}/configcontent/{name}")
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class ConfigItem(Protocol):
    """Something that agents download. ``query`` holds the parameters of the request, the last value of each."""

    async def content(self, agent: Record, query: Mapping[str, str]) -> bytes | None:
        """The bytes for this agent; None when the item is not for it (404)."""
        ...

    async def applied(self, agent: Record, version: str) -> bool:
        """The agent has taken ``version`` over. False when the item is not for it (404)."""
        ...


class ConfigItems:
    """The items by name, and the routes that serve them."""

    def __init__(self, context: Context, authenticate: Authenticator) -> None:
        self._context = context
        self._authenticate = authenticate
        self._items: dict[str, ConfigItem] = {}

    def add(self, name: str, item: ConfigItem) -> None:
        """Serve an item that keeps account of what its agents have. Raises ValueError for a name that is taken."""
        if name in self._items:
            raise ValueError(f"there is a configuration item {name!r} already")
        self._items[name] = item

    def register(self, name: str, producer: Producer) -> None:
        """Serve what ``producer`` makes for an agent's record; None stands for nothing (404). No account is kept."""
        self.add(name, _Produced(producer))

    def routes(self) -> Sequence[BaseRoute]:
        return [Route(path, self._serve, methods=["GET", "PUT"]) for path in _PATHS]

    async def _serve(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except ApiError as error:
            return error_response(error)

    async def _answer(self, request: Request) -> Response:
        project = request.path_params.get("project")
        caller = await self._authenticate(request, project=project, type_name="configContent")
        if caller is None:
            raise ApiError(401, None, "Configuration is for agents: send the agent's keys")
        query = dict(request.query_params)
        agent = await self._agent(caller, query)
        name = str(request.path_params["name"])
        item = self._items.get(name)
        if agent is None or item is None:
            raise _unassigned(name)
        if request.method == "PUT":
            if not await item.applied(agent, query.get("version", "")):
                raise _unassigned(name)
            return Response(status_code=200, headers=_HEADERS)
        content = await item.content(agent, query)
        if content is None:
            raise _unassigned(name)
        return Response(content, media_type="application/octet-stream", headers=_HEADERS)

    async def _agent(self, caller: Caller, query: Mapping[str, str]) -> Record | None:
        """The agent that the keys belong to; whoever may act for every account may name another one."""
        agent_id = caller.agent_id
        if agent_id is None:
            if not caller.all_accounts:
                raise forbidden("Configuration is for agents: send the agent's keys")
            agent_id = parse_row_id(query.get("agentId", ""), plain=True)
        agent = None if agent_id is None else await self._context.store.get("agent", agent_id)
        return None if agent is None or agent["removed"] is not None else agent


class _Produced:
    def __init__(self, producer: Producer) -> None:
        self._produce = producer

    async def content(self, agent: Record, query: Mapping[str, str]) -> bytes | None:
        return await self._produce(agent)

    async def applied(self, agent: Record, version: str) -> bool:
        return await self._produce(agent) is not None


def _unassigned(name: str) -> ApiError:
    return not_found(f"There is no configuration item {name[:64]!r} for this agent")
