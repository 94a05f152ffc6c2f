"""Infrastructure follows the server's templates and image, without its network being replaced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drover.server.orchestration.infrastructure import upgrades
from drover.server.orchestration.infrastructure.library import StackTemplate, template_of
from drover.server.store import Record
from tests.server.orchestration.infrastructure.conftest import Environment, Server, serving

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def installed(server: Server) -> Environment:
    """An environment with one host, the network stack running on it."""
    env = await server.from_template("VXLAN")
    await env.add_host("h1")
    for stack, service in (("vxlan", "vxlan"), ("network-services", "metadata"), ("scheduler", "scheduler")):
        await env.service(stack, service)
    return env


async def parts(env: Environment) -> dict[str, Record]:
    """Launch config -> the running container of the network stack."""
    service = await env.service("vxlan", "vxlan")
    found = {each["labels"]["io.rancher.service.launch.config"]: each for each in await env.containers(service)}
    return {"holder": found["io.rancher.service.primary.launch.config"], "router": found["router"]}


async def upgrade(env: Environment) -> Record:
    answer = await env.assembly_api.post(f"projects/1a{env.id}/?action=upgrade", {})
    assert answer.status in (200, 202), answer.json
    return await env.until("account", env.id, "active")


async def test_a_new_image_replaces_the_programs_and_keeps_the_network(server: Server) -> None:
    env = await installed(server)
    before = await parts(env)
    await server.set("drover.image", "drover:2")
    project = await upgrade(env)
    assert project["transitioningMessage"] is None
    after = await parts(env)
    assert after["holder"].id == before["holder"].id
    assert after["holder"]["primaryIpAddress"] == before["holder"]["primaryIpAddress"]
    assert after["holder"]["startCount"] == 1
    assert after["router"].id != before["router"].id
    assert after["router"]["imageUuid"] == "docker:drover:2"
    assert after["router"]["networkContainerId"] == before["holder"].id
    for name in ("vxlan", "network-services", "scheduler", "healthcheck"):
        stack = await env.stack(name)
        assert stack["environment"]["DROVER_IMAGE"] == "drover:2"
        assert (stack["previousExternalId"], stack["previousEnvironment"]) == (None, None)
    holder_image = (await env.stack("vxlan"))["environment"]["DROVER_HOLDER_IMAGE"]
    assert after["holder"]["imageUuid"] == f"docker:{holder_image}"


async def test_what_carries_traffic_keeps_its_image(server: Server) -> None:
    env = await server.from_template("Cattle")
    await env.add_host("h1")
    service = await env.service("ipsec", "ipsec")
    before = {each["name"]: each.id for each in await env.containers(service)}
    await server.set("drover.image", "drover:2")
    assert (await upgrade(env))["transitioningMessage"] is None
    after = {each["name"]: each for each in await env.containers(await env.service("ipsec", "ipsec"))}
    kept = {name for name, each in after.items() if each.id == before.get(name)}
    assert kept == {"ipsec-ipsec-1", "ipsec-ipsec-charon-1"}
    assert after["ipsec-ipsec-router-1"]["imageUuid"] == "docker:drover:2"
    assert after["ipsec-ipsec-charon-1"]["imageUuid"] == "docker:drover:latest"


async def test_what_is_current_is_left_alone(server: Server) -> None:
    env = await installed(server)
    before = await parts(env)
    await upgrade(env)
    assert {name: each.id for name, each in (await parts(env)).items()} == {
        name: each.id for name, each in before.items()
    }


async def test_a_newer_template_is_followed_and_answers_are_kept(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = await installed(server)
    stack = await env.stack("vxlan")
    changes = server.store.changes()
    changes.update(stack, {"environment": {**stack["environment"], "MTU": "9000"}})
    await server.store.commit(changes)
    newer(monkeypatch, "vxlan", lambda old: replace(old, version=old.version + 1))
    await upgrade(env)
    stack = await env.stack("vxlan")
    assert stack["externalId"] == "catalog://library:infra*vxlan:1"
    network = await env.network("vxlan")
    assert network["metadata"]["cniConfig"]["10-rancher-vxlan.conf"]["mtu"] == 9000


async def test_a_template_may_gain_a_sidekick(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `ipsec` gained charon: it joins the holder that is there."""
    env = await installed(server)
    before = await parts(env)
    probe = """
  probe:
    image: ${DROVER_CHARON_IMAGE}
    network_mode: container:vxlan

  cni-driver:
"""

    def gained(old: StackTemplate) -> StackTemplate:
        text = old.docker_compose.replace("io.rancher.sidekicks: router", "io.rancher.sidekicks: router,probe")
        return replace(old, version=1, docker_compose=text.replace("\n  cni-driver:\n", probe))

    newer(monkeypatch, "vxlan", gained)
    project = await upgrade(env)
    assert project["transitioningMessage"] is None
    service = await env.service("vxlan", "vxlan")
    found = {each["labels"]["io.rancher.service.launch.config"]: each for each in await env.containers(service)}
    assert found["io.rancher.service.primary.launch.config"].id == before["holder"].id
    assert found["probe"]["networkContainerId"] == before["holder"].id
    assert found["probe"]["imageUuid"] == "docker:drover:latest"


async def test_a_failed_upgrade_is_taken_back_and_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    env = await installed(server)
    before = await parts(env)
    newer(monkeypatch, "vxlan", lambda old: replace(old, version=1, docker_compose="services: [nonsense"))
    project = await upgrade(env)
    assert project["transitioning"] == "error"
    assert "the upgrade of vxlan failed and was taken back" in project["transitioningMessage"]
    stack = await env.stack("vxlan")
    assert stack["externalId"] == "catalog://library:infra*vxlan:0"
    assert (await parts(env))["router"].id == before["router"].id


async def test_a_server_that_may_upgrades_when_it_starts(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        env = await installed(server)
    settings = {"CATTLE_DROVER_IMAGE": "drover:3", "CATTLE_UPGRADE_MANAGER": "all"}
    async with serving(tmp_path, settings) as server:
        env = Environment(server.assembly, env.id)

        async def upgraded() -> bool:
            stacks = [await env.stack(name) for name in ("vxlan", "network-services")]
            return all(each["environment"]["DROVER_IMAGE"] == "drover:3" for each in stacks)

        await env.eventually(upgraded)
        await env.until("account", env.id, "active")


async def test_a_server_that_may_not_leaves_all_as_it_is(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        env = await installed(server)
    async with serving(tmp_path, {"CATTLE_DROVER_IMAGE": "drover:3"}) as server:
        env = Environment(server.assembly, env.id)
        await env.service("vxlan", "vxlan")
        assert (await env.stack("vxlan"))["environment"]["DROVER_IMAGE"] == "drover:latest"
        assert (await server.store.get("account", env.id)).state == "active"  # type: ignore[union-attr]


def newer(monkeypatch: pytest.MonkeyPatch, name: str, change: Any) -> None:
    """Let this server have another version of a template."""

    def look(external_id: str | None) -> StackTemplate | None:
        found = template_of(external_id)
        return change(found) if found is not None and found.name == name else found

    monkeypatch.setattr(upgrades, "template_of", look)
