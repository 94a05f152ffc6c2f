"""Volume templates of stacks, over simulated hosts."""

from __future__ import annotations

import pytest

from drover.server.store import Record
from tests.server.orchestration.services.conftest import World

pytestmark = pytest.mark.anyio

MOUNT = {"dataVolumes": ["data:/var/lib/db", "/host/path:/x", "other:/y"]}


async def add_template(world: World, **values: object) -> Record:
    changes = world.store.changes()
    stack = changes.insert("stack", {"name": "shop", "accountId": world.account.id, "state": "active", "kind": "stack"})
    template = changes.insert(
        "volumeTemplate",
        {"name": "data", "kind": "volumeTemplate", "accountId": world.account.id, "stackId": stack.id, **values},
    )
    await world.store.commit(changes)
    return template


async def test_containers_of_a_stack_share_a_volume(world: World) -> None:
    template = await add_template(world)
    await world.add_host()
    service = await world.create_service(scale=2, launchConfig=MOUNT)
    await world.until(service, "active")
    (volume,) = await world.store.find_by("volume", volumeTemplateId=template.id)
    assert str(volume.name).startswith("shop_data_")
    for container in await world.containers(service, "running"):
        assert container["dataVolumes"] == [f"{volume.name}:/var/lib/db", "/host/path:/x", "other:/y"]
        assert container["dataVolumeMounts"] == {"/var/lib/db": volume.id}


async def test_each_container_has_its_own_and_gets_it_back(world: World) -> None:
    template = await add_template(world, perContainer=True)
    await world.add_host()
    service = await world.create_service(scale=2, launchConfig=MOUNT)
    await world.until(service, "active")
    first, second = await world.until_names(service, "shop-web-1", "shop-web-2")
    assert first["dataVolumeMounts"] != second["dataVolumeMounts"]
    await world.run("instance.stop", first, remove=True)
    await world.until(first, "removed")
    again, _ = await world.until_names(service, "shop-web-1", "shop-web-2")
    assert again.id != first.id
    assert again["dataVolumeMounts"] == first["dataVolumeMounts"]
    assert len(await world.store.find_by("volume", volumeTemplateId=template.id, removed=None)) == 2


async def test_an_external_volume_must_exist(world: World) -> None:
    await add_template(world, external=True)
    await world.add_host()
    service = await world.create_service(launchConfig=MOUNT)
    found = await world.context.watch.until(
        "service", service.id, lambda r: r is not None and r["transitioningMessage"] is not None, timeout=20
    )
    assert found is not None
    assert "create it before the service starts" in found["transitioningMessage"]
