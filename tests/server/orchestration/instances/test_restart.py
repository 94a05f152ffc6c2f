"""The first moments of a server that was restarted: what it has not read yet must not count as absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from drover.server.lifecycle import Engine
from drover.simulator.model import SimulatedAgent
from tests.server.orchestration.conftest import FAST, Platform, running

pytestmark = pytest.mark.anyio

QUIET = {**FAST, "CATTLE_TASK_AGENT_PING_SCHEDULE": "60"}


async def test_a_stop_that_was_under_way_reaches_the_host(tmp_path: Path) -> None:
    async with running(tmp_path, QUIET) as platform:
        await platform.create_host()
        container = await platform.start()
        follower = await platform.start(networkContainerId=container.id, networkMode="container")
        (model,) = platform.hosting.simulated._models.values()
        changes = platform.store.changes()
        engine: Engine = platform.context.engine
        engine.schedule(changes, "instance.stop", container, {"remove": True})
        changes.callbacks.clear()  # the crash: the plan is durable, nobody hears of it
        await platform.store.commit(changes)

    after = await restarted(tmp_path, platform, model, container.id)
    assert container.uuid not in model.containers
    assert model.containers[follower.uuid].state == "stopped"
    assert after["removed"]


async def restarted(path: Path, before: Platform, model: SimulatedAgent, container_id: int) -> dict[str, object]:
    async def prepare(platform: Platform) -> None:
        models = platform.hosting.simulated._models
        await platform.eventually(lambda: len(models) == 1)
        next(iter(models.values())).containers = model.containers

    async with running(path, QUIET, environment=before.environment, prepare=prepare) as platform:
        return (await platform.until("instance", container_id, "removed")).values
