"""What an agent may say of its own host, and only of its own host."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from drover.server.api.call import Call
from drover.server.api.channels.tokens import StreamTokens
from drover.server.api.draft import Draft
from drover.server.api.errors import ApiError, invalid
from drover.server.api.extensions import Extensions, Output
from drover.server.resources import Schema
from drover.server.store import Condition as Where
from drover.server.store import Query, Record

_OPEN_STATES = ("requested", "creating")


class AgentTypes:
    """Registers the types through which agents report."""

    def __init__(self, tokens: StreamTokens) -> None:
        self._tokens = tokens

    def register(self, extensions: Extensions) -> None:
        extensions.creates("hostApiProxyToken")(self.proxy_token)
        extensions.rule("containerEvent")(container_event)

    async def proxy_token(self, call: Call, schema: Schema, given: dict[str, Any]) -> Output:
        """The token with which an agent opens the tunnel of its host."""
        reported = str(given.get("reportedUuid") or "")
        host = await own_host(call, reported, "reportedUuid")
        token = self._tokens.issue({"reportedUuid": str(host["reportedUuid"] or host.uuid)})
        parts = urlsplit(call.urls.base)
        scheme = "wss" if parts.scheme == "https" else "ws"
        url = f"{scheme}://{parts.netloc}/v1/connectbackend"
        return Output(type="hostApiProxyToken", values={"reportedUuid": reported, "token": token, "url": url})


async def own_host(call: Call, reported_uuid: str, field_name: str) -> Record:
    """The calling agent's host of that uuid. Raises 403 for a caller that is no agent, 422 for a foreign uuid."""
    if call.caller.agent_id is None:
        raise ApiError(403, "CantVerifyAgent", "Only a host's own agent may report for it; use the agent's key")
    for host in await call.store.find_by("host", agentId=call.caller.agent_id, removed=None):
        if reported_uuid in (host["reportedUuid"], host.uuid):
            return host
    raise invalid(
        "InvalidReference", field_name, f"Your agent has no host {reported_uuid!r}; retry after the next ping"
    )


async def container_event(draft: Draft) -> None:
    """An event belongs to the environment of the host, whoever's key it came with."""
    host = await own_host(draft.call, str(draft.get("reportedHostUuid") or ""), "hostId")
    draft.values["hostId"] = host.id
    draft.values["accountId"] = host.account_id
    if draft.get("externalStatus") != "start":
        return
    limit = draft.call.context.settings.int("container.event.max.size")
    waiting = await draft.call.store.count(
        Query("containerEvent", (Where("hostId", "eq", host.id), Where("state", "in", _OPEN_STATES)))
    )
    if waiting >= limit:
        raise ApiError(409, "TooManyContainerEvents", f"{waiting} events of this host wait already; retry in a moment")
