"""The network manager put together: the engine's containers on one side, the world on the other.

Attaching does not wait for the world; rules do not wait for the engine. Nothing is torn down when this program
starts or stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import structlog

from drover.client.world import Container, Delta, World
from drover.host.network.attach.attacher import Attacher
from drover.host.network.attach.configs import NetworkConfigs
from drover.host.network.attach.ledger import BridgeLedger
from drover.host.network.attach.outcome import Outcomes
from drover.host.network.attach.plugins import ForeignPlugins
from drover.host.network.docker import Docker, Listed
from drover.host.network.events import Watch
from drover.host.network.housekeeping import Housekeeper
from drover.host.network.reconciler import Reconciler
from drover.host.network.rules.iptables import Firewall
from drover.host.network.settings import NetworkManagerSettings

log = structlog.get_logger(__name__)

Follow = Callable[[str, World], AsyncIterator[Delta]]


class NetworkManager:
    """One host's manager. `run()` serves until it is cancelled."""

    def __init__(
        self, settings: NetworkManagerSettings, docker: Docker, *, follow: Follow, firewall: Firewall | None = None
    ) -> None:
        self._settings = settings
        self._docker = docker
        self._follow = follow
        self.world = World()
        self._by_docker_id: dict[str, Container] = {}
        self._configs = NetworkConfigs(
            driver_dir=settings.cni_config_dir,
            user_dir=settings.cni_user_dir,
            memory=settings.networks_file,
        )
        self._outcomes = Outcomes(settings.cni_state_dir)
        self.attacher = Attacher(
            docker,
            configs=self._configs,
            outcomes=self._outcomes,
            foreign=ForeignPlugins(search_path=settings.cni_path, memory=settings.plugins_dir),
            ledger=BridgeLedger(settings.ledger_file),
            find=self._find,
            changed=lambda: self.reconciler.trigger(),
            metadata_address=settings.metadata_address,
            tries=settings.attach_tries,
            edit_dns=not settings.disable_dns_setup,
        )
        self.reconciler = Reconciler(
            settings, world=self.world, firewall=firewall or Firewall(), started=self._start_times, engine=docker.pid
        )
        self._housekeeper = Housekeeper(settings, docker, world=self.world, attached=self.attacher.attached)
        self._watch = Watch(docker, changed=self._container_changed, listed=self._containers_listed)
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        self._outcomes.prepare()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._watch.run(), name="engine")
            tasks.create_task(self._follow_world(), name="world")
            tasks.create_task(self.reconciler.run(), name="rules")
            tasks.create_task(self._housekeeper.run(), name="housekeeping")
            log.info("network.manager.started", metadata=self._settings.metadata_address)

    async def _follow_world(self) -> None:
        address = f"http://{self._settings.metadata_address}"
        async for delta in self._follow(address, self.world):
            for before, after in delta.of("container"):
                if before is not None and before.external_id:
                    self._by_docker_id.pop(before.external_id, None)
                if after is not None and after.external_id:
                    self._by_docker_id[after.external_id] = after
            if delta.host_changed or any(key.kind in ("network", "host", "environment") for key in delta.changes):
                self._configs.learn(self.world)
            self.reconciler.take(delta)
            for container in self.attacher.given_up():
                self._container_changed(container)

    def _container_changed(self, container: str) -> None:
        if self._tasks is not None:
            self._tasks.create_task(self.attacher.handle(container), name=f"container-{container[:12]}")

    def _containers_listed(self, containers: list[Listed]) -> None:
        """Everything that runs is looked at, and everything that was attached and no longer is listed."""
        self._outcomes.keep_only(each.id for each in containers)
        gone = set(self.attacher.attached) - {each.id for each in containers if each.running}
        for container in [*gone, *(each.id for each in containers if each.running)]:
            self._container_changed(container)
        self.reconciler.trigger(engine_came_back=True)

    def _find(self, docker_id: str, uuid: str) -> Container | None:
        return self._by_docker_id.get(docker_id) or (self.world.containers.get(uuid) if uuid else None)

    def _start_times(self) -> Mapping[str, str]:
        return {container: each.started_at for container, each in self.attacher.attached.items()}

    def status(self) -> dict[str, Any]:
        return {
            "healthy": self._watch.connected,
            "engine": "connected" if self._watch.connected else "lost",
            "world": {"loaded": self.world.loaded, "revision": self.world.revision, "host": self.world.host},
            "attached": len(self.attacher.attached),
            "attach_errors": dict(self.attacher.errors),
            "rules": self.reconciler.status(),
        }
