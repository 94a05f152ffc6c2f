"""How a machine becomes an agent: it asks with a ``register`` object, whose creation makes the agent and its key.

The same host token in the same environment always finds the same agent, so a host may register as often as it
likes. Only a keyed hash of the host token is kept: it entitles its holder to the agent's key.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

from drover.common.clock import now_ms
from drover.server.lifecycle import Again, Done, Handlers, Outcome, Run
from drover.server.orchestration.accounts import plan_removal, removed
from drover.server.orchestration.context import Context
from drover.server.orchestration.vault import Vault
from drover.server.store import ClaimTaken, Record

REGISTER = "register"
DEFAULT_URI_FORMAT = "event://%s"

_URI_FORMAT = re.compile(r"(event|sim|test)://%s\Z")
_KEY_SECONDS = 30.0
_GONE = frozenset({"removing", "removed", "purging", "purged"})

KindHandler = Callable[[Run], Awaitable[Outcome | None]]


def is_uri_format(text: str) -> bool:
    """Whether an agent may be addressed this way: over its subscription, or by the simulator."""
    return _URI_FORMAT.match(text) is not None


def hashed_host_token(vault: Vault, token: str) -> str:
    """What is kept of a host token, in the register object and in the agent's data."""
    return vault.digest(token, purpose="host token")


class GenericObjectHandlers:
    """``genericobject.*``: a store for others, in which some kinds start work. ``kinds`` adds handlers of creation."""

    def __init__(self, context: Context, kinds: Mapping[str, KindHandler] | None = None) -> None:
        self._context = context
        self._kinds: dict[str, KindHandler] = {REGISTER: self._register, **(kinds or {})}

    def register(self, handlers: Handlers) -> None:
        handlers.register("genericobject.create", self.create)
        handlers.register("genericobject.remove", removed)

    async def create(self, run: Run) -> Outcome | None:
        handler = self._kinds.get(run.record.kind)
        return None if handler is None else await handler(run)

    async def _register(self, run: Run) -> Outcome:
        agent = await self._agent(run)
        if agent is None:
            return Again(0.2, "Another registration of this host is under way")
        try:
            ready = await self._context.watch.until(
                "agent", agent.id, lambda found: found is None or found.account_id is not None, timeout=_KEY_SECONDS
            )
        except TimeoutError:
            return Again(1.0, "Waiting for the agent's account")
        key = None if ready is None else await self._agent_key(ready)
        if key is None:
            return Again(0.2, "Waiting for the agent's key")
        return Done({"credentialId": key.id})

    async def _agent(self, run: Run) -> Record | None:
        """The agent of this host: the one of an earlier registration, else a new one; None when we lost a race."""
        store = self._context.store
        if run.record["agentId"] is not None:
            return await store.get("agent", int(run.record["agentId"]))
        changes = run.plan()
        for other in await store.find_by("genericObject", key=run.record["key"], kind=REGISTER, removed=None):
            if other.account_id != run.record.account_id or other["agentId"] is None:
                continue
            agent = await store.get("agent", int(other["agentId"]))
            if agent is not None and agent["removed"] is None and agent.state not in _GONE:
                await run.apply({"agentId": agent.id})
                return agent
            plan_removal(changes, other)  # its agent was removed, so the host starts anew
        agent = changes.insert("agent", self._agent_values(run.record))
        agent = self._context.engine.schedule(changes, "agent.create", agent)
        changes.claim(f"register:{run.record.account_id}:{run.record['key']}", run.record)
        try:
            await run.apply({"agentId": agent.id}, changes)
        except ClaimTaken:
            return None
        return agent

    @staticmethod
    def _agent_values(register: Record) -> dict[str, object]:
        uri_format = str(register["agentUriFormat"] or DEFAULT_URI_FORMAT)
        return {
            "kind": "registeredAgent",
            "state": "requested",
            "created": now_ms(),
            "uuid": register.uuid,
            "uri": uri_format.replace("%s", register.uuid),
            "managedConfig": True,
            "agentResourcesAccountId": register.account_id,
            "data": {
                "registrationKey": register["key"],
                "agentResourcesAccountId": register.account_id,
            },
        }

    async def _agent_key(self, agent: Record) -> Record | None:
        return await self._context.store.first(
            "credential", accountId=agent.account_id, kind="agentApiKey", state="active", removed=None
        )
