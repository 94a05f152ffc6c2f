"""What happens on hosts by itself."""

from __future__ import annotations

from typing import Any

import pytest

from drover.server.orchestration.events.container_events import ContainerChange, plan_event
from drover.server.store import Record
from tests.server.orchestration.conftest import Platform

pytestmark = pytest.mark.anyio


async def report(platform: Platform, host: Record, status: str, **values: Any) -> Record:
    change = ContainerChange(external_id=values.pop("external_id"), status=status, image="nginx", timestamp=1, **values)
    changes = platform.store.changes()
    event = plan_event(platform.context.engine, changes, host, change)
    await platform.store.commit(changes)
    return await platform.until("containerEvent", event.id, "created")


def sim(platform: Platform, host: Record) -> Any:
    return platform.hosting.simulated.model(host["agentId"])


async def test_an_unknown_container_is_adopted(platform: Platform) -> None:
    host = await platform.create_host()
    inspect = {
        "Name": "/hand-made",
        "Config": {"Image": "nginx", "Labels": {"a": "b"}, "Cmd": ["x"]},
        "HostConfig": {"NetworkMode": "host"},
    }
    await report(platform, host, "start", external_id="d0c", inspect=inspect)
    found = await platform.store.first("instance", externalId="d0c")
    assert found is not None
    adopted = await platform.until("instance", found.id, "running")
    assert (adopted.name, adopted["nativeContainer"], adopted["hostId"]) == ("hand-made", True, host.id)
    assert adopted["imageUuid"] == "docker:nginx"
    assert adopted["labels"]["a"] == "b"
    again = await report(platform, host, "start", external_id="d0c", inspect=inspect)
    assert again.state == "created"
    assert len(await platform.store.find_by("instance", externalId="d0c")) == 1


async def test_a_died_container_is_stopped_without_telling_the_agent(platform: Platform) -> None:
    host = await platform.create_host()
    container = await platform.start()
    await report(platform, host, "die", external_id=container["externalId"])
    await platform.until("instance", container.id, "stopped")
    assert sim(platform, host).containers[container.uuid].state == "running", "nobody asked the agent to stop it"
    await report(platform, host, "start", external_id=container["externalId"])
    await platform.until("instance", container.id, "running")


async def test_events_that_repeat_what_is_known_change_nothing(platform: Platform) -> None:
    host = await platform.create_host()
    container = await platform.start()
    await report(platform, host, "start", external_id=container["externalId"])
    assert (await platform.reload(container))["startCount"] == 1


async def test_a_destroyed_container_is_removed(platform: Platform) -> None:
    host = await platform.create_host()
    container = await platform.start()
    await report(platform, host, "destroy", external_id=container["externalId"])
    await platform.until("instance", container.id, "removed")


async def test_the_setting_turns_adoption_off(platform: Platform) -> None:
    host = await platform.create_host()
    await platform.set("manage.nonrancher.containers", "false")
    await report(platform, host, "start", external_id="d0c", inspect={"Name": "/x"})
    assert await platform.store.first("instance", externalId="d0c") is None


async def test_a_container_that_stopped_unseen_is_noticed_by_the_ping(platform: Platform) -> None:
    host = await platform.create_host()
    container = await platform.start()
    sim(platform, host).containers[container.uuid].state = "stopped"
    await platform.until("instance", container.id, "stopped")
    sim(platform, host).containers[container.uuid].state = "running"
    await platform.until("instance", container.id, "running")


async def test_a_container_that_vanished_unseen_is_removed(platform: Platform) -> None:
    host = await platform.create_host()
    container = await platform.start()
    del sim(platform, host).containers[container.uuid]
    await platform.until("instance", container.id, "removed")


async def test_a_foreign_container_is_found_by_the_ping(platform: Platform) -> None:
    await platform.create_host()
    await platform.start(name="simCreateAnother_1")

    async def adopted() -> Any:
        return await platform.store.find_by("instance", nativeContainer=True, state="running")

    (found,) = await platform.eventually(adopted)
    assert found["imageUuid"] == "docker:sim:nginx"


@pytest.mark.parametrize(
    ("native", "there", "left"), [(False, "running", None), (False, "stopped", None), (True, "running", "stopped")]
)
async def test_what_was_removed_while_its_host_was_away(
    platform: Platform, native: bool, there: str, left: str | None
) -> None:
    """Ours is removed there too; what somebody else started is only stopped."""
    host = await platform.create_host()
    container = await platform.start(nativeContainer=native)
    model = sim(platform, host)
    model.connected = False
    await platform.until("agent", host["agentId"], "disconnected")
    await platform.schedule("instance.stop", container, remove=True)
    await platform.until("instance", container.id, "removed")
    assert model.containers[container.uuid].state == "running"
    model.containers[container.uuid].state = there
    model.connected = True
    agent = await platform.store.get("agent", host["agentId"])
    assert agent is not None
    await platform.schedule("agent.reconnect", agent)

    def state() -> str | None:
        found = model.containers.get(container.uuid)
        return None if found is None else str(found.state)

    await platform.eventually(lambda: state() == left)
