"""``POST publish``: replies of agents and external handlers, and the events that services send to their environment."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from drover.client.events import BALANCER_REPORT
from drover.common.clock import now_ms
from drover.server.api.call import Call
from drover.server.api.channels.wire import published_event
from drover.server.api.errors import ApiError, forbidden, invalid
from drover.server.api.extensions import Extensions, Output
from drover.server.bus import Bus, Event, NotAsked
from drover.server.orchestration.services.balancer_reports import BalancerReports, NotItsBusiness, TooManyReports
from drover.server.resources import Schema
from drover.server.store import StoreError

_SERVICE_EVENT = re.compile(r"^service\.[a-z.]+$")


class Publishing:
    """Puts published events on the bus."""

    def __init__(self, bus: Bus, balancers: BalancerReports) -> None:
        self._bus = bus
        self._balancers = balancers

    def register(self, extensions: Extensions) -> None:
        extensions.creates("publish")(self.publish)

    async def publish(self, call: Call, schema: Schema, given: dict[str, Any]) -> Output:
        try:
            event = published_event(given)
        except msgspec.ValidationError as error:
            raise invalid("InvalidFormat", "name", f"This is not an event: {error}") from error
        if event.name.startswith("reply."):
            self._reply(call, event)
        elif event.name == BALANCER_REPORT:
            await self._balancer_report(call, event)
        elif _SERVICE_EVENT.match(event.name):
            await self._service_event(call, event)
        elif call.caller.raw_subscriptions:
            self._bus.publish(event)
        else:
            raise forbidden("Only replies (reply.…) and service events (service.…) may be published")
        return Output(type="publish", id=event.id, values={**given, "id": event.id, "time": event.time or now_ms()})

    def _reply(self, call: Call, event: Event) -> None:
        sender = None if call.caller.agent_id is None else f"agent:{call.caller.agent_id}"
        try:
            self._bus.reply(event, sender=sender)
        except NotAsked as error:
            raise ApiError(409, "Conflict", f"Nobody waits for this reply: {error}") from error

    async def _balancer_report(self, call: Call, event: Event) -> None:
        try:
            await self._balancers.take(call.caller.agent_id, event.transitioning_message or "")
        except NotItsBusiness as refused:
            raise forbidden(str(refused)) from refused
        except TooManyReports as refused:
            raise ApiError(429, "TooManyRequests", str(refused)) from refused
        except StoreError as lost:
            raise ApiError(409, "Conflict", "The service was changed at this moment; report again") from lost

    async def _service_event(self, call: Call, event: Event) -> None:
        """Heard by everybody who may hear everything, and in the environment that the agent works for."""
        account_id = call.caller.policy_account_id
        if call.caller.agent_id is not None:
            agent = await call.store.get("agent", call.caller.agent_id)
            account_id = (agent and agent["agentResourcesAccountId"]) or account_id
        self._bus.publish(event)
        self._bus.publish(msgspec.structs.replace(event, name=f"{event.name};account={account_id}"))
