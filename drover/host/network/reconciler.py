"""From the world to the host: one pass computes what should be, and changes only what differs.

A pass runs after each change of the world, of the local containers, or of the engine's connection, and every 30
seconds with a look at what the kernel really holds. A world that was never received changes nothing: an outage
leaves the last rules in place.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import structlog
from prometheus_client import Counter, Histogram
from pyroute2.netlink.exceptions import NetlinkError

from drover.client.network_policy import PolicyError, parse_policy
from drover.client.world import Container, Delta, Object, World
from drover.host.network.commands import CommandError
from drover.host.network.namespaces import in_thread
from drover.host.network.policy.ipsets import Ipsets
from drover.host.network.policy.translate import PolicyRules, translate
from drover.host.network.rules.iptables import Firewall
from drover.host.network.rules.nat import forward_rules, guard_rules, hooks, nat_rules
from drover.host.network.rules.networks import BridgedNetwork, bridged_networks, local_networks
from drover.host.network.rules.ports import Conflict, HostPort, host_ports, port_rules
from drover.host.network.rules.tables import NETWORK_POLICY
from drover.host.network.settings import NetworkManagerSettings
from drover.host.network.sync.conntrack import forget, stale_connections
from drover.host.network.sync.hairpin import ensure_hairpin
from drover.host.network.sync.metadata_route import ensure_metadata_route, host_addresses
from drover.host.network.sync.sysctls import Sysctls

log = structlog.get_logger(__name__)

PASSES = Counter("drover_network_passes_total", "Passes over the host's rules.", ["outcome"])
PASS_SECONDS = Histogram(
    "drover_network_pass_seconds", "Duration of a pass.", buckets=(0.01, 0.05, 0.1, 0.2, 0.5, 1, 5)
)

SETTLE = 0.05
"""A short breath between two passes, so that a burst of changes costs a few passes and not one each."""
LONGEST_PAUSE = 2.0


class Reconciler:
    """`started()` gives the local containers' start times by Docker id, `engine()` the engine's process."""

    def __init__(
        self,
        settings: NetworkManagerSettings,
        *,
        world: World,
        firewall: Firewall,
        started: Callable[[], Mapping[str, str]],
        engine: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._world = world
        self._firewall = firewall
        self._started = started
        self._engine = engine
        self._sysctls = Sysctls(engine)
        self._ipsets = Ipsets()
        self._wake = asyncio.Event()
        self._engine_came_back = True
        self._ports: tuple[HostPort, ...] | None = None
        self._local: tuple[BridgedNetwork, ...] = ()
        self._policy: PolicyRules | None = None
        self._policy_problem = ""
        self._conflicts: frozenset[tuple[Any, ...]] = frozenset()
        self._problem = ""
        self._refreshed = time.monotonic()

    def trigger(self, *, engine_came_back: bool = False) -> None:
        """A pass is due. An engine that came back may have put its own rules before ours."""
        self._engine_came_back |= engine_came_back
        self._wake.set()

    def take(self, delta: Delta) -> None:
        """The world changed: a pass is due when that can matter to this host.

        Other hosts' containers matter to policies alone, and most changes of a large environment are theirs.
        """
        own, everywhere = self._world.host, self._policy is None or bool(self._policy.rules)
        for key, (before, after) in delta.changes.items():
            if everywhere or key.kind != "container" or own in (_host_of(before), _host_of(after)):
                self.trigger()
                return
        if delta.host_changed:
            self.trigger()

    async def run(self) -> None:
        """Never returns; a failed pass is logged and tried again."""
        while True:
            verify = False
            try:
                async with asyncio.timeout(self._settings.verify_interval):
                    await self._wake.wait()
            except TimeoutError:
                verify = True
            self._wake.clear()
            verify, self._engine_came_back = verify or self._engine_came_back, False
            begun = time.monotonic()
            await self._guarded_pass(verify=verify)
            # Passes of a large environment under a policy take longer: they get a fifth of the time at most.
            await asyncio.sleep(min(LONGEST_PAUSE, max(SETTLE, 4 * (time.monotonic() - begun))))
            if self._problem:
                await asyncio.sleep(LONGEST_PAUSE)
                self.trigger(engine_came_back=True)

    async def _guarded_pass(self, *, verify: bool) -> None:
        begun = time.monotonic()
        try:
            await self.reconcile(verify=verify)
        except (CommandError, NetlinkError, OSError) as error:
            PASSES.labels("failed").inc()
            if str(error) != self._problem:
                log.error("network.pass.failed", error=str(error))
            self._problem = str(error)
            self._firewall.forget()
            self._ipsets.forget()
        else:
            PASSES.labels("done").inc()
            self._problem = ""
        PASS_SECONDS.observe(time.monotonic() - begun)

    async def reconcile(self, *, verify: bool) -> None:
        """One pass. Raises CommandError, NetlinkError or OSError when the host refuses something."""
        known = self._world.loaded and self._world.host is not None
        if known and self._world.own_host is None:
            return  # it joins, or leaves: what to take away is for the clean-up, not for what metadata lacks
        if verify:
            await self._ensure_host()
        if not known:
            return
        if time.monotonic() - self._refreshed > self._settings.refresh_interval:
            self._refreshed = time.monotonic()
            self._firewall.forget()
            self._ipsets.forget()
        networks = bridged_networks(self._world)
        local = self._effective_local(networks)
        ports, conflicts = host_ports(self._world, networks, started=self._started())
        self._report(conflicts)
        await self._apply_rules(networks, local, ports, self._policy_rules(local), verify=verify)
        await self._forget_connections(ports)
        await self._hairpin(ports)

    async def _apply_rules(
        self,
        networks: Mapping[str, BridgedNetwork],
        local: tuple[BridgedNetwork, ...],
        ports: tuple[HostPort, ...],
        policy: PolicyRules | None,
        *,
        verify: bool,
    ) -> None:
        settings = self._settings
        bridges = {each.bridge for each in networks.values() if each.bridge}
        await asyncio.to_thread(self._sysctls.ensure, sorted(bridges))
        owners = [
            port_rules(ports, metadata_address=settings.metadata_address, metadata_port=settings.metadata_listen_port),
            forward_rules(local, docker_bridge=settings.docker_bridge),
            nat_rules(networks.values(), metadata_address=settings.metadata_address),
            guard_rules(networks.values()),
        ]
        if policy is None and await self._has_policy_chains():
            # Not understood, and nothing known from before: what an earlier process applied stays.
            await self._firewall.apply(owners, hooks(local), verify=verify)
            return
        policy = policy or PolicyRules()
        await self._ipsets.fill(policy.sets)
        subnet = local[0].subnet if len(local) == 1 else ""
        changed = await self._firewall.apply(
            [*owners, policy.owner()], hooks(local, policy=policy.hooks(subnet)), verify=verify
        )
        if changed:
            await self._ipsets.drop_others(policy.sets)
        self._policy = policy

    async def _has_policy_chains(self) -> bool:
        dump = await self._firewall.dump()
        return dump.chain("filter", NETWORK_POLICY) is not None

    def _effective_local(self, networks: Mapping[str, BridgedNetwork]) -> tuple[BridgedNetwork, ...]:
        """A network that was local and still exists stays so while its router is replaced."""
        found = local_networks(self._world)
        if not found:
            found = tuple(networks[each.uuid] for each in self._local if each.uuid in networks)
        self._local = found
        return found

    def _policy_rules(self, local: tuple[BridgedNetwork, ...]) -> PolicyRules | None:
        """The policy of the host's one network; the last good one when the present one makes no sense."""
        if len(local) != 1:
            return PolicyRules()
        network = self._world.networks[local[0].uuid]
        try:
            policy = parse_policy(network.policy, network.default_policy_action)
        except PolicyError as error:
            if self._policy_problem != str(error):
                log.error("network.policy.invalid", network=network.name, error=str(error), effect="the last one stays")
            self._policy_problem = str(error)
            return self._policy
        self._policy_problem = ""
        return translate(policy, self._world, network.uuid)

    async def _ensure_host(self) -> None:
        """What does not depend on the world: back end, set and metadata route."""
        settings = self._settings
        await self._firewall.detect()
        await self._firewall.ensure_set()
        if not settings.disable_routesync:
            problem = await in_thread(partial(ensure_metadata_route, settings.metadata_address, settings.docker_bridge))
            if problem:
                log.debug("metadata.route.missing", problem=problem)

    async def _forget_connections(self, ports: tuple[HostPort, ...]) -> None:
        before, self._ports = self._ports, ports
        if self._settings.disable_conntracksync or before == ports:
            return
        addresses = await in_thread(host_addresses)
        await forget(stale_connections(before or (), ports, host_addresses=addresses, first=before is None))

    async def _hairpin(self, ports: tuple[HostPort, ...]) -> None:
        publishing = {each.container for each in ports}
        ids = [
            each.external_id
            for each in self._world.containers.values()
            if each.uuid in publishing and each.external_id and each.host_uuid == self._world.host
        ]
        if ids:
            await in_thread(partial(ensure_hairpin, ids))

    def _report(self, conflicts: tuple[Conflict, ...]) -> None:
        seen = frozenset((each.wanted.container, *each.wanted.claim) for each in conflicts)
        for each in conflicts:
            if (each.wanted.container, *each.wanted.claim) not in self._conflicts:
                log.warning(
                    "host.port.conflict",
                    port=f"{each.wanted.address}:{each.wanted.port}/{each.wanted.protocol}",
                    holder=each.holder,
                    refused=each.wanted.container,
                    hint="the container that started first keeps the port",
                )
        self._conflicts = seen

    def status(self) -> dict[str, Any]:
        return {
            "backend": self._firewall.backend,
            "ports": len(self._ports or ()),
            "conflicts": len(self._conflicts),
            "problem": self._problem,
            "policy": {"sets": len(self._policy.sets) if self._policy else 0, "problem": self._policy_problem},
            "sysctls": dict(self._sysctls.problems),
        }


def _host_of(each: Object | None) -> str | None:
    return each.host_uuid if isinstance(each, Container) else None
