"""Attaching and detaching containers: one container at a time is handled by one task, in the order of its events.

The labels that the agent writes are enough to attach; metadata is asked for containers that were not started by an
agent. `handle` looks at what the engine says now, so it may be called for any reason and any number of times.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog
from prometheus_client import Counter, Histogram
from pyroute2.netlink.exceptions import NetlinkError

from drover.client.world import Container
from drover.host.network.attach import bridge, dns
from drover.host.network.attach.configs import NetworkConfigs, PluginConfig
from drover.host.network.attach.ledger import BridgeLedger
from drover.host.network.attach.outcome import Outcomes
from drover.host.network.attach.plan import AttachError, parse_config, plan_attachment
from drover.host.network.attach.plugins import ForeignPlugins, to_v02
from drover.host.network.attach.wanted import Wish, wanted_network, wants_dns, wish_of
from drover.host.network.docker import Docker, EngineError, Inspect
from drover.host.network.namespaces import in_thread, network_path

log = structlog.get_logger(__name__)

ATTACHED = Counter("drover_network_attach_total", "Attempts to attach containers.", ["outcome"])
ATTACH_SECONDS = Histogram(
    "drover_network_attach_seconds",
    "From the engine's event to the attached container.",
    buckets=(0.01, 0.02, 0.04, 0.06, 0.1, 0.2, 0.5, 1, 5, 30),
)

RETRY_PAUSE = 2.0
FIRST_PAUSES = (0.1, 0.25, 0.5, 1.0)
"""What is missing at a host's start (the network, an address in metadata) is often there a moment later."""

MAX_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Attached:
    """A container that this program has seen through. `started_at` is the engine's text."""

    network: str
    started_at: str
    pid: int
    address: str


class Attacher:
    """`find(docker id, uuid)` gives what metadata knows about a container."""

    def __init__(
        self,
        docker: Docker,
        *,
        configs: NetworkConfigs,
        outcomes: Outcomes,
        foreign: ForeignPlugins,
        ledger: BridgeLedger,
        find: Callable[[str, str], Container | None],
        changed: Callable[[], None],
        metadata_address: str,
        tries: int,
        edit_dns: bool,
    ) -> None:
        self._docker = docker
        self._configs = configs
        self._outcomes = outcomes
        self._foreign = foreign
        self._ledger = ledger
        self._find = find
        self._changed = changed
        self._metadata_address = metadata_address
        self._tries = tries
        self._edit_dns = edit_dns
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        self.attached: dict[str, Attached] = {}
        self.errors: dict[str, str] = {}
        """The last error of containers that are not attached, by Docker id."""
        self._given_up: set[str] = set()

    async def handle(self, container: str) -> None:
        """Brings one container's attachment in line with what the engine says. Logs what cannot be done."""
        begun = time.monotonic()
        lock = self._locks[container]
        async with lock:
            try:
                async with self._slots:
                    inspect = await self._docker.inspect(container)
                if inspect is not None and inspect.up:
                    await self._up(inspect, begun)
                else:
                    await self._down(container, inspect)
            except (EngineError, OSError, NetlinkError) as error:
                # The next list of the engine's containers looks at this one again.
                log.warning("attach.unknown", container=container[:12], error=str(error))
        if container not in self.attached and not lock.locked():
            self._locks.pop(container, None)

    def given_up(self) -> list[str]:
        """Containers that wait for a network although all tries are over; each is named once.

        Worth another try when the world changes: on a host that has just started, metadata may come late.
        """
        found, self._given_up = sorted(self._given_up), set()
        return found

    async def _up(self, inspect: Inspect, begun: float) -> None:
        if self._edit_dns and wants_dns(inspect):
            await self._write_resolv_conf(inspect)
        network = wanted_network(inspect)
        known = self.attached.get(inspect.id)
        if not network or (known is not None and known.started_at == inspect.state.started_at):
            return
        result = self._earlier_result(inspect) or await self._attach(network, inspect)
        if result is None:
            return
        address = str(result["ip4"]["ip"]).partition("/")[0]
        await self._write_hosts(inspect, address)
        self._outcomes.write(inspect.id, inspect.state.started_at, result)
        self.attached[inspect.id] = Attached(network, inspect.state.started_at, inspect.state.pid, address)
        self.errors.pop(inspect.id, None)
        took = time.monotonic() - begun
        ATTACHED.labels("attached").inc()
        ATTACH_SECONDS.observe(took)
        log.info(
            "container.attached", container=inspect.id[:12], network=network, address=address, ms=round(took * 1000)
        )
        self._changed()

    def _earlier_result(self, inspect: Inspect) -> dict[str, Any] | None:
        """A foreign plug-in must not run twice for one start of a container; ours verifies what it finds."""
        if not self._foreign.attached(inspect.id):
            return None
        return self._outcomes.read(inspect.id, inspect.state.started_at)

    async def _attach(self, network: str, inspect: Inspect) -> dict[str, Any] | None:
        """The result; None when it failed for good or the container is no longer there."""
        problem = ""
        for attempt in range(self._tries):
            try:
                return await self._add(network, inspect)
            except (AttachError, OSError) as error:
                problem = str(error)
            ATTACHED.labels("failed").inc()
            self.errors[inspect.id] = problem
            now = await self._docker.inspect(inspect.id)
            if now is None or not now.up or now.state.started_at != inspect.state.started_at:
                log.info("attach.abandoned", container=inspect.id[:12], reason="the container is no longer running")
                return None
            log.debug("attach.retry", container=inspect.id[:12], network=network, error=problem)
            await asyncio.sleep(FIRST_PAUSES[attempt] if attempt < len(FIRST_PAUSES) else RETRY_PAUSE)
        log.error("attach.failed", container=inspect.id[:12], network=network, error=problem)
        self._given_up.add(inspect.id)
        self._outcomes.write_error(inspect.id, inspect.state.started_at, problem)
        return None

    async def _add(self, network: str, inspect: Inspect) -> dict[str, Any]:
        plugins = self._configs.find(network)
        if not plugins:
            raise AttachError(
                f"this host knows no network named {network}: its network stack must run in this environment, and "
                "the metadata service on this host"
            )
        namespace = network_path(inspect.state.pid)
        wish = self._completed(wish_of(inspect.id, inspect.labels))
        result: dict[str, Any] | None = None
        previous: Any = None
        for plugin in plugins:
            if plugin.built_in:
                previous = await self._add_built_in(plugin, wish, namespace)
            else:
                previous = await self._foreign.add(plugin, wish, namespace, previous)
            result = to_v02(previous) or result
        if result is None:
            raise AttachError(f"no CNI plug-in of network {network} gave the container an IPv4 address")
        return result

    async def _add_built_in(self, plugin: PluginConfig, wish: Wish, namespace: str) -> dict[str, Any]:
        config = parse_config(plugin.content)
        if not wish.address and (ipam := plugin.foreign) is not None:
            leased = to_v02(await self._foreign.add(ipam, wish, namespace, None))
            wish = replace(wish, address=str(leased["ip4"]["ip"]) if leased else "")
        own = await in_thread(partial(bridge.bridge_first_address, config.bridge)) if not config.bridge_subnet else None
        plan = plan_attachment(config, wish, metadata_address=self._metadata_address, bridge_own_address=own)
        await in_thread(partial(bridge.attach, plan, namespace, self._ledger))
        return plan.result()

    def _completed(self, wish: Wish) -> Wish:
        """What the labels leave open comes from metadata."""
        if wish.address and wish.mac:
            return wish
        known = self._find(wish.container, wish.uuid)
        if known is None:
            return wish
        return replace(
            wish,
            uuid=wish.uuid or known.uuid,
            address=wish.address or known.primary_ip or "",
            mac=wish.mac or known.primary_mac_address or "",
        )

    async def _down(self, container: str, inspect: Inspect | None) -> None:
        known = self.attached.pop(container, None)
        self.errors.pop(container, None)
        self._given_up.discard(container)
        network = known.network if known else wanted_network(inspect) if inspect else ""
        if known is None and not network and not self._foreign.attached(container):
            return
        found = self._configs.find(network) if network else ()
        plugins = [each.foreign for each in found if each.foreign is not None]
        if plugins or self._foreign.attached(container):
            await self._delete_foreign(plugins, container)
        # The built-in plug-in has nothing to undo: the kernel removed the cable with the namespace.
        self._outcomes.remove(container)
        if known is not None:
            log.info("container.detached", container=container[:12], network=network)
            self._changed()

    async def _delete_foreign(self, plugins: Sequence[PluginConfig], container: str) -> None:
        try:
            await self._foreign.delete(plugins, Wish(container), "")
        except AttachError as error:
            log.warning("detach.failed", container=container[:12], error=str(error))

    async def _write_resolv_conf(self, inspect: Inspect) -> None:
        if inspect.resolv_conf_path == dns.RESOLV_CONF or _mounted(inspect, dns.RESOLV_CONF):
            return
        edit = partial(
            dns.edit_resolv_conf,
            self._file(inspect, dns.RESOLV_CONF, inspect.resolv_conf_path),
            server=self._metadata_address,
            labels=inspect.labels,
            host_config_search=inspect.host_config.dns_search or (),
        )
        await self._edit(inspect, edit, dns.RESOLV_CONF)

    async def _write_hosts(self, inspect: Inspect, address: str) -> None:
        if _mounted(inspect, dns.HOSTS):
            return
        file = self._file(inspect, dns.HOSTS, inspect.hosts_path)
        edit = partial(dns.edit_hosts, file, address=address, hostname=inspect.config.hostname)
        await self._edit(inspect, edit, dns.HOSTS)

    def _file(self, inspect: Inspect, path: str, source: str) -> dns.ContainerFile:
        return dns.ContainerFile(inspect.state.pid, path, source, engine=self._docker.pid)

    async def _edit(self, inspect: Inspect, edit: Callable[[], None], path: str) -> None:
        """The container shall have its network also where the file cannot be edited."""
        try:
            await in_thread(edit)
        except OSError as error:
            log.warning("container.file.unchanged", container=inspect.id[:12], file=path, error=str(error))


def _mounted(inspect: Inspect, path: str) -> bool:
    """Whether the user mounted a file of his own there: it may be the host's."""
    return any(mount.destination in (path, "/etc") for mount in inspect.mounts or ())
