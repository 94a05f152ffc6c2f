"""What balancers say of their own work: a configuration that was refused is shown on the service.

The report comes with the key of the agent of a balancer's own container, and all that it can do is set or clear the
error text of that container's service and write a line into the service's log: the service is found from the key, never
from what the report says. Reports that come faster than a working balancer would send them are refused.
"""

from __future__ import annotations

import time
import uuid
from collections import deque

import structlog

from drover.client.events import BALANCER_REPORT
from drover.common.clock import now_ms
from drover.server.orchestration.context import Context
from drover.server.store import Record

log = structlog.get_logger(__name__)

_KIND = "loadBalancerService"
_LONGEST = 1000
_MOST, _WINDOW = 10, 60.0  # reports of one container within so many seconds
_SHOWN = "errorOverride"


class NotItsBusiness(Exception):
    """The key does not belong to the container of a balancer; the text is for the caller."""


class TooManyReports(Exception):
    """The container reports too often; the text is for the caller."""


class BalancerReports:
    """``take`` one report; an empty problem says that the balancer works as configured again."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._problems: dict[int, dict[int, str]] = {}
        self._times: dict[int, deque[float]] = {}

    async def take(self, agent_id: int | None, problem: str) -> None:
        instance, service = await self._sender(agent_id)
        self._limit(instance.id)
        text = " ".join(problem.split())[:_LONGEST]
        problems = self._problems.setdefault(service.id, {})
        problems.pop(instance.id, None)
        await self._forget_removed(problems)
        if text:
            problems[instance.id] = f"{instance.name}: {text}"
        if not problems:
            self._problems.pop(service.id, None)
        await self._show(service, next(iter(problems.values()), None))

    async def _sender(self, agent_id: int | None) -> tuple[Record, Record]:
        store = self._context.store
        found = None if agent_id is None else await store.first("instance", agentId=agent_id, removed=None)
        if found is not None and found["serviceId"] is not None:
            service = await store.get("service", int(found["serviceId"]))
            if service is not None and service["removed"] is None and service.kind == _KIND:
                return found, service
        raise NotItsBusiness("Only the container of a load balancer service may report this; use its own agent key")

    async def _forget_removed(self, problems: dict[int, str]) -> None:
        """A container that was replaced takes nothing back; its successor speaks for itself."""
        if problems:
            known = await self._context.store.get_many("instance", list(problems))
            for gone in [each for each in problems if each not in known or known[each]["removed"] is not None]:
                del problems[gone]

    def _limit(self, instance_id: int) -> None:
        now = time.monotonic()
        self._times = {key: times for key, times in self._times.items() if times[-1] > now - _WINDOW}
        times = self._times.setdefault(instance_id, deque(maxlen=_MOST))
        if len(times) == _MOST and times[0] > now - _WINDOW:
            raise TooManyReports(f"More than {_MOST} reports in {_WINDOW:g} s; report when something has changed")
        times.append(now)

    async def _show(self, service: Record, problem: str | None) -> None:
        """On the service and in its log. An error that a process of the service ended in is not ours to change."""
        stored = service["transitioning"]
        shown = service["transitioningMessage"] if stored == _SHOWN else None
        if problem == shown or stored not in (None, _SHOWN):
            return
        changes = self._context.store.changes()
        changes.update(service, {"transitioning": _SHOWN if problem else None, "transitioningMessage": problem})
        changes.insert(
            "serviceLog",
            {
                "kind": "serviceLog",
                "accountId": service["accountId"],
                "serviceId": service.id,
                "eventType": BALANCER_REPORT,
                "description": problem or "The load balancer works as configured again",
                "level": "error" if problem else "info",
                "transactionId": str(uuid.uuid4()),
                "subLog": False,
                "created": now_ms(),
                "endTime": now_ms(),
            },
        )
        await self._context.store.commit(changes)
        log.info("balancer.report", service_id=service.id, problem=problem)
