"""Statistics of containers: each second one message with a sample of every container that still runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from aiodocker.exceptions import DockerError

from drover.host.agent import host_facts
from drover.host.agent.engine import Engine
from drover.host.agent.errors import AgentError
from drover.host.agent.streams.multiplex import Stream
from drover.host.agent.streams.samples import Interface, docker_interfaces, encode_samples, from_docker, read_interfaces

log = structlog.get_logger(__name__)

INTERVAL = 1.0


async def serve_container_stats(stream: Stream, engine: Engine, names: Mapping[str, str]) -> None:
    """`names`: Docker id -> id in the samples. Ends when the last of these containers has stopped."""
    if not names:
        raise AgentError("the token names no container to measure")
    latest: dict[str, Mapping[str, Any]] = {}
    host_memory = host_facts.memory_total_bytes()
    pids: dict[str, int] = {}
    async with asyncio.TaskGroup() as group:
        followers = [
            group.create_task(_follow(engine, container, latest, pids), name=f"stats {container[:12]}")
            for container in names
        ]
        while not all(follower.done() for follower in followers):
            await asyncio.sleep(INTERVAL)
            samples = [
                from_docker(
                    stats,
                    identifier=names[container],
                    host_memory=host_memory,
                    interfaces=_interfaces(pids.get(container, 0), stats),
                )
                for container, stats in latest.items()
            ]
            latest.clear()
            if samples:
                await stream.send(encode_samples(samples))


async def _follow(engine: Engine, container: str, latest: dict[str, Mapping[str, Any]], pids: dict[str, int]) -> None:
    """Keeps the newest sample of one container until it stops."""
    try:
        state = (await engine.inspect_container(container)).get("State") or {}
        pids[container] = int(state.get("Pid") or 0)
        if not state.get("Running"):
            return
        async for stats in engine.stats(container):
            if not (stats.get("cpu_stats") or {}).get("system_cpu_usage"):
                # A stopped container's samples are empty; its stream would go on with them.
                return
            latest[container] = stats
    except DockerError as error:
        if error.status != 404:
            log.warning("stats.lost", container=container, error=error.message)


def _interfaces(pid: int, stats: Mapping[str, Any]) -> list[Interface]:
    """From the container's own network namespace, where a network manager's interfaces are too."""
    try:
        return read_interfaces(Path(f"/proc/{pid}/net/dev").read_text())
    except OSError:
        return docker_interfaces(stats)
