"""The life of an agent: created with its key, activated, lost, found again, removed."""

from __future__ import annotations

from drover.common.clock import now_ms
from drover.server.bus import NoAnswer, Refused
from drover.server.lifecycle import Again, Chain, Delegate, Done, Handlers, Outcome, Run
from drover.server.orchestration.agents.accounts import plan_account
from drover.server.orchestration.agents.channel import AgentGone
from drover.server.orchestration.agents.ping import Pinger
from drover.server.orchestration.agents.uris import is_pinged
from drover.server.orchestration.context import Context
from drover.server.orchestration.durations import seconds
from drover.server.orchestration.mirror import Mirror
from drover.server.store import Changes, Record
from drover.simulator.model import ACTIVATE_KEY

_PATIENCE = 60.0  # seconds of one attempt to reach a lost agent, before the attempt is written down and repeated


class AgentHandlers:
    """The handlers of ``agent.*``. ``hosts`` mirrors the hosts, whose ``agentState`` follows their agent."""

    def __init__(self, context: Context, agents: Mirror, hosts: Mirror, pinger: Pinger) -> None:
        self._context = context
        self._agents = agents
        self._hosts = hosts
        self._pinger = pinger

    def register(self, handlers: Handlers) -> None:
        handlers.register("agent.create", self.create)
        handlers.register("agent.activate", self.activate)
        handlers.register("agent.reconnect", self.reconnect)
        handlers.register("agent.finishreconnect", self.finish_reconnect)
        handlers.register("agent.disconnect", self.disconnect)
        handlers.register("agent.deactivate", self.deactivate)
        handlers.register("agent.remove", self.remove)

    async def create(self, run: Run) -> Outcome:
        """Give the agent an account and a key, then activate it."""
        if run.record.account_id is not None:
            return Delegate()
        changes = run.plan()
        environment_id = run.record["agentResourcesAccountId"]
        account, _ = plan_account(
            changes, self._context.vault, run.record.id, role="agent", environment_id=environment_id
        )
        return Delegate({"accountId": account.id}, changes)

    async def activate(self, run: Run) -> Outcome:
        """Become active at once; the first ping follows, and brings the host."""
        changes = await self._mirror_state(run.plan(), run.record, "active")
        if is_pinged(str(run.record["uri"] or "")):
            options = (run.record["data"] or {}).get(ACTIVATE_KEY) or {}
            if str(options.get("waitForPing")).lower() == "true":
                await self._ask(run, timeout=self._attempt_time())
            else:
                changes.after_commit(lambda committed: self._pinger.greet(committed.record(run.record)))
        return Done(changes=changes)

    async def reconnect(self, run: Run) -> Outcome:
        """Try to reach the agent; give it up as disconnected when that takes too long."""
        self._pinger.forget(run.record.id)
        await self._note_state(run, "reconnecting")
        if not is_pinged(str(run.record["uri"] or "")):
            return Delegate()
        waited = (now_ms() - int(run.process_record["startTime"] or 0)) / 1000
        patience = seconds(self._context.settings, "agent.disconnect.after.seconds") - waited
        if patience <= 0:
            return Chain("agent.disconnect", changes=await self._mirror_state(run.plan(), run.record, "disconnecting"))
        try:
            await self._ask(run, timeout=min(patience, _PATIENCE))
        except (NoAnswer, Refused):
            return Again(0.05, "Waiting for the agent to reconnect")
        return Delegate()

    async def finish_reconnect(self, run: Run) -> Outcome:
        return Done(changes=await self._mirror_state(run.plan(), run.record, "active"))

    async def disconnect(self, run: Run) -> Outcome:
        changes = run.plan()
        await self._hosts.ready()
        for host in self._hosts.where(agentId=run.record.id):
            changes.update(host, {"agentState": "disconnected", "removeAfter": await self._remove_after(host)})
        return Done({"disconnectedAt": now_ms()}, changes)

    async def deactivate(self, run: Run) -> Outcome:
        self._pinger.forget(run.record.id)
        changes = await self._mirror_state(run.plan(), run.record, "inactive")
        if run.data.get("chainTo") == "agent.remove":
            return Chain("agent.remove", data={"chainTo": None}, changes=changes)
        return Done(changes=changes)

    async def remove(self, run: Run) -> Outcome:
        """Remove the agent with its accounts and keys, and let its hosts go too."""
        self._pinger.forget(run.record.id)
        changes = run.plan()
        await self._hosts.ready()
        for host in list(self._hosts.where(agentId=run.record.id)):
            name = "host.remove" if self._context.engine.can_schedule("host.remove", host) else "host.deactivate"
            if self._context.engine.can_schedule(name, host):
                self._context.engine.schedule(changes, name, host, {"chainTo": "host.remove"})
        accounts = [run.record.account_id, *(run.record["authorizedRoleAccountIds"] or [])]
        removed = {"state": "removed", "removed": now_ms()}
        owners = [each for each in accounts if each is not None]
        found = await self._context.store.get_many("account", owners)
        own = [account for account in found.values() if account.kind == "agent"]
        for account in own:
            changes.update(account, removed)
        for key in await self._context.store.find_by("credential", accountId=[each.id for each in own], removed=None):
            changes.update(key, removed)
        return Done({"removed": now_ms()}, changes)

    # Helpers

    async def _ask(self, run: Run, *, timeout: float) -> None:
        try:
            await self._pinger.ask(run.record, {"stats": True, "resources": True, "instances": True}, timeout=timeout)
        except AgentGone as error:
            raise NoAnswer(str(error)) from error

    def _attempt_time(self) -> float:
        settings = self._context.settings
        retries = max(1, settings.int("agent.activate.ping.retries"))
        return seconds(settings, "agent.activate.ping.timeout") * retries

    async def _note_state(self, run: Run, state: str) -> None:
        changes = await self._mirror_state(run.plan(), run.record, state)
        if changes.updates:
            await run.apply(changes=changes)

    async def _mirror_state(self, changes: Changes, agent: Record, state: str) -> Changes:
        """The hosts show the state of their agent."""
        await self._hosts.ready()
        for host in self._hosts.where(agentId=agent.id):
            if host["agentState"] != state:
                changes.update(host, {"agentState": state, "removeAfter": None})
        return changes

    async def _remove_after(self, host: Record) -> int | None:
        """When a host whose agent is lost may be removed, or None for never."""
        account = await self._context.store.get("account", int(host["accountId"])) if host["accountId"] else None
        delay = account["hostRemoveDelaySeconds"] if account is not None else None
        wait = float(delay) if delay is not None else seconds(self._context.settings, "host.remove.delay.seconds")
        return None if wait < 0 else now_ms() + int(wait * 1000)
