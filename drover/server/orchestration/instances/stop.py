"""Stopping, restarting and failing a container."""

from __future__ import annotations

from typing import Protocol

import structlog

from drover.common.clock import now_ms
from drover.placement import parse_ports
from drover.server.bus import NoAnswer, Refused
from drover.server.lifecycle import Chain, Done, Outcome, ProcessConflict, Run
from drover.server.orchestration.agents.channel import AgentChannel, AgentGone
from drover.server.orchestration.context import Context
from drover.server.orchestration.instances.allocator import port_claim
from drover.server.orchestration.instances.payload import brief_map
from drover.server.orchestration.instances.report import read_reply
from drover.server.orchestration.instances.usage import Usage
from drover.server.orchestration.mirror import Mirror
from drover.server.orchestration.retry import later
from drover.server.store import Record

log = structlog.get_logger(__name__)

_GRACE_SECONDS = 10
_MARGIN_SECONDS = 35.0
_STOPPABLE = ("running", "starting", "restarting", "updating-running")


class Drain(Protocol):
    """Takes a container out of its load balancers before it stops."""

    async def __call__(self, run: Run) -> None: ...


class Stop:
    """The handlers of ``instance.stop``, ``instance.restart`` and ``instance.error``."""

    def __init__(self, context: Context, channel: AgentChannel, hosts: Mirror, usage: Usage) -> None:
        self._context = context
        self._channel = channel
        self._hosts = hosts
        self._usage = usage
        self.drains: list[Drain] = []

    async def stop(self, run: Run) -> Outcome:
        """Dependants first, then the container, then whatever was asked to follow."""
        no_op = bool(run.data.get("containerNoOpEvent"))
        if not no_op and not run.data.get("errorState"):
            for drain in self.drains:
                await drain(run)
        await self._stop_dependants(run.record)
        try:
            reported = {} if no_op else await self._tell(run)
        except (NoAnswer, Refused) as error:
            return later(run, self._context.settings, str(error))
        changes = run.plan()
        for port in parse_ports(run.record["publishedPorts"]):
            changes.release(port_claim(run.record["hostId"], port), run.record)
        if run.record["publishedPorts"]:
            reported = {**reported, "publishedPorts": None}  # the next start may get others
        follow = self._follow(run)
        if follow is None:
            return Done(reported, changes)
        return Chain(follow.process, {**reported, **follow.values}, follow.data, changes)

    def _follow(self, run: Run) -> Chain | None:
        data = run.data
        if data.get("errorState"):
            return Chain("instance.error", data={"errorState": False})
        asked = data.get("remove") or data.get("chainTo") == "instance.remove"
        if asked or (run.record["instanceTriggeredStop"] == "remove" and not data.get("restart")):
            return Chain("instance.remove", data={"remove": False, "chainTo": None})
        if data.get("restart"):
            return Chain("instance.start", data={"restart": False})
        return None

    async def _tell(self, run: Run) -> dict[str, object]:
        """Have the agent stop it. A host that is not connected is left alone: its next report settles it."""
        instance = run.record
        await self._hosts.ready()
        host = self._hosts.get(instance["hostId"])
        if host is None or not await self._channel.is_reachable(host["agentId"]):
            return {}
        timeout = run.data.get("timeout")
        grace = float(timeout) if timeout is not None else float(instance["stopTimeout"] or _GRACE_SECONDS)
        data = brief_map(instance, host_id=host.id)
        data["processData"] = {"containerNoOpEvent": False, "timeout": timeout}
        try:
            reply = await self._channel.call(
                int(host["agentId"]),
                "compute.instance.deactivate",
                resource_type="instanceHostMap",
                resource_id=instance.id,
                data=data,
                timeout=grace + _MARGIN_SECONDS,
                context={"processId": run.process_record.id},
            )
        except AgentGone:
            return {}
        except Refused as error:
            if run.data.get("errorState") or run.data.get("remove"):
                log.info("instance.stop_refused", instance_id=instance.id, reason=str(error))
                return {}
            raise
        return read_reply(reply, instance)

    async def _stop_dependants(self, instance: Record) -> None:
        """Containers that use this one's network cannot live without it.

        They are really stopped also when this one ended by itself: the engine leaves them in a network namespace that
        nothing leads to any more, and one that seems to run would not be started again.
        """
        await self._usage.ready()
        ids = self._usage.network_dependants(instance.id)
        for each in (await self._context.store.get_many("instance", sorted(ids))).values() if ids else ():
            if each.state in _STOPPABLE:
                changes = self._context.store.changes()
                try:
                    self._context.engine.schedule(changes, "instance.stop", each)
                except ProcessConflict as busy:
                    log.debug("instance.dependant_busy", instance_id=each.id, reason=str(busy))
                    continue
                await self._context.store.commit(changes)

    async def restart(self, run: Run) -> Outcome:
        """A stop that is followed by a start."""
        return Chain("instance.stop", data={"restart": True})

    async def error(self, run: Run) -> Outcome:
        """The container could not be started; remember when, so that it can be cleaned up later."""
        return Done({"erroredAt": now_ms()})
