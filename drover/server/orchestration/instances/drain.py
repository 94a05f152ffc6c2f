"""Load balancers let go of a container before it stops, so that no request meets a closed door.

Each balancer that sends requests to the container's service is asked (`target.drain`) to send nothing new there and to
answer when the last request has ended. The wait is bounded: a balancer that does not answer never keeps a container
alive. Rancher 1.6 did so only where a drain time was set; here a short one is the rule, because it costs nothing when
no request is open.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import structlog

from drover.common.together import together
from drover.placement.selectors import SelectorError, parse_selector
from drover.server.bus import NoAnswer, Refused
from drover.server.lifecycle import Run
from drover.server.orchestration.agents.channel import AgentChannel, AgentGone
from drover.server.orchestration.agents.connections import CONNECTED, DISCONNECTED
from drover.server.orchestration.context import Context
from drover.server.orchestration.instances.labels import is_true, labels_of
from drover.server.orchestration.mirror import Mirror
from drover.server.store import Record

DRAIN_PROVIDER = "io.rancher.container.agent_service.drain_provider"
DRAIN_EVENT = "target.drain"
DEFAULT_DRAIN_MS = 3000

_BALANCER = "loadBalancerService"
_MARGIN_SECONDS = 10.0
_TELL_SECONDS = 1.0
_OUT_OF_SERVICE = frozenset({"inactive", "deactivating", "removed", "removing"})
_LAUNCH_CONFIG = "io.rancher.service.launch.config"
_PRIMARY = "io.rancher.service.primary.launch.config"

log = structlog.get_logger(__name__)


class BalancerDrain:
    """Asked before each stop; ``run`` follows which agents are connected, for only those can answer."""

    def __init__(self, context: Context, channel: AgentChannel) -> None:
        self._context = context
        self._channel = channel
        self._balancers = Mirror(context.store, "service", lambda service: service.kind == _BALANCER)
        self._connected: Counter[int] = Counter()

    async def run(self) -> None:
        subscription = self._context.bus.subscribe([CONNECTED, DISCONNECTED], capacity=10_000)
        try:
            async for event in subscription:
                agent_id = int(event.resource_id or 0)
                # Connections of one agent may overlap, so they are counted.
                self._connected[agent_id] += 1 if event.name == CONNECTED else -1
                if self._connected[agent_id] <= 0:
                    del self._connected[agent_id]
        finally:
            subscription.close()

    async def __call__(self, run: Run) -> None:
        """Return when every balancer of the container has let go of it, or the time is over."""
        instance = run.record
        address = instance["primaryIpAddress"]
        if not self._connected or not address or instance["serviceId"] is None or instance["networkMode"] == "host":
            return
        await self._balancers.ready()
        if not any(True for _ in self._balancers.where(accountId=instance.account_id)):
            return
        service = await self._context.store.get("service", int(instance["serviceId"]))
        if service is None or service["removed"] or service.state in _OUT_OF_SERVICE:
            return
        milliseconds = _drain_ms(service, instance)
        if not milliseconds:
            return
        agents = await self._agents(service)
        if not agents:
            return
        telling = asyncio.create_task(_tell(run), name="drain-progress")
        try:
            await together(self._ask(agent_id, instance, str(address), milliseconds) for agent_id in agents)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _ask(self, agent_id: int, instance: Record, address: str, milliseconds: int) -> None:
        try:
            await self._channel.call(
                agent_id,
                DRAIN_EVENT,
                resource_type="instance",
                resource_id=instance.id,
                data={"targetIPaddress": address, "drainTimeout": str(milliseconds)},
                timeout=milliseconds / 1000 + _MARGIN_SECONDS,
            )
        except (NoAnswer, Refused, AgentGone) as error:
            log.warning("instance.not_drained", instance_id=instance.id, agent_id=agent_id, reason=str(error))

    async def _agents(self, service: Record) -> list[int]:
        """The agents of the balancers of a service that can drain."""
        balancers = [
            balancer.id
            for balancer in self._balancers.where(accountId=service.account_id)
            if balancer.state not in _OUT_OF_SERVICE and balances(balancer, service)
        ]
        if not balancers:
            return []
        running = await self._context.store.find_by("instance", serviceId=balancers, state="running", removed=None)
        return [
            int(each["agentId"])
            for each in running
            if each["agentId"] is not None
            and int(each["agentId"]) in self._connected
            and is_true(labels_of({"labels": each["labels"]}).get(DRAIN_PROVIDER))
        ]


async def _tell(run: Run) -> None:
    """Most containers are let go of at once; only a wait that a person can notice is worth a write."""
    await asyncio.sleep(_TELL_SECONDS)
    await run.progress("Draining...")


def balances(balancer: Record, service: Record) -> bool:
    """Whether a rule of the balancer names or selects the service, or the service asked to be linked to it."""
    labels = _labels(service)
    for rule in _rules(balancer):
        if rule.get("serviceId") == service.id:
            return True
        if rule.get("selector") and not rule.get("environment") and _selects(rule["selector"], labels):
            return True
    return bool(service["selectorLink"]) and _selects(service["selectorLink"], _labels(balancer))


def _rules(balancer: Record) -> Iterator[dict[str, Any]]:
    config = balancer["lbConfig"] if isinstance(balancer["lbConfig"], dict) else {}
    return (rule for rule in config.get("portRules") or () if isinstance(rule, dict))


def _labels(service: Record) -> dict[str, str]:
    return labels_of(service["launchConfig"] or {})


def _selects(selector: object, labels: dict[str, str]) -> bool:
    try:
        return parse_selector(str(selector)).matches(labels)
    except SelectorError:
        return False


def _drain_ms(service: Record, instance: Record) -> int:
    """What the container's launch configuration says; a container that rules do not lead to has no default."""
    name = labels_of({"labels": instance["labels"]}).get(_LAUNCH_CONFIG, _PRIMARY)
    secondary = name not in (_PRIMARY, service.name)
    config: dict[str, Any] = service["launchConfig"] or {}
    if secondary:
        sidekicks = [each for each in service["secondaryLaunchConfigs"] or () if each.get("name") == name]
        config = sidekicks[0] if sidekicks else {}
    given = int(config.get("drainTimeoutMs") or 0)
    return given or (0 if secondary else DEFAULT_DRAIN_MS)
