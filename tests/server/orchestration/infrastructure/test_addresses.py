"""Which address a container has, and for how long, through the API and on simulated hosts."""

from __future__ import annotations

from typing import Any

import pytest

from drover.server.store import Record
from tests.server.orchestration.infrastructure.conftest import Environment, Server, number

pytestmark = pytest.mark.anyio


@pytest.fixture
async def env(server: Server) -> Environment:
    environment = await server.create_environment("plain")
    await environment.add_host("h1")
    return environment


async def create_service(env: Environment, **fields: Any) -> Record:
    """A started service in a stack of its own."""
    stack = (await env.api.post("stacks", {"name": "shop"})).json
    body = {"name": "web", "stackId": stack["id"], "startOnCreate": True, "scale": 2, **fields}
    body["launchConfig"] = {"imageUuid": "docker:nginx", **body.get("launchConfig", {})}
    answer = await env.api.post("services", body)
    assert answer.status == 201, answer.json
    return await env.until("service", number(answer.json["id"]), "active")


async def addresses(env: Environment, service: Record, *, version: str | None = None) -> dict[str, str]:
    """Service index -> address, of the running containers."""
    found = await env.containers(service)
    return {str(each["serviceIndex"]): str(each["primaryIpAddress"]) for each in found if each["version"] != version}


async def act(env: Environment, service: Record, action: str, body: dict[str, Any] | None = None) -> None:
    answer = await env.api.post(f"services/1s{service.id}/?action={action}", body or {})
    assert answer.status in (200, 202), answer.json


async def upgrade(env: Environment, service: Record) -> None:
    launch = {"imageUuid": "docker:nginx:2"}
    await act(env, service, "upgrade", {"inServiceStrategy": {"batchSize": 2, "launchConfig": launch}})
    await env.until("service", service.id, "upgraded")


async def test_a_restart_keeps_address_and_mac(env: Environment) -> None:
    container = await env.run(name="web")
    before = (container["primaryIpAddress"], container["primaryMacAddress"])
    await env.api.post(f"containers/1i{container.id}/?action=stop", {})
    await env.until("instance", container.id, "stopped")
    await env.api.post(f"containers/1i{container.id}/?action=start", {})
    container = await env.until("instance", container.id, "running")
    assert (container["primaryIpAddress"], container["primaryMacAddress"]) == before


async def test_wishes_are_granted_in_order_and_else_forgotten(env: Environment) -> None:
    wish = {"io.rancher.container.requested_ip": "10.42.7.7, 10.42.7.8"}
    first, second, third = [await env.run(labels=wish) for _ in range(3)]
    assert (first["primaryIpAddress"], second["primaryIpAddress"]) == ("10.42.7.7", "10.42.7.8")
    assert third["primaryIpAddress"] not in ("10.42.7.7", "10.42.7.8", None)
    await env.api.post(f"containers/1i{first.id}/?action=stop", {})
    await env.until("instance", first.id, "stopped")
    assert (await env.run(labels=wish))["primaryIpAddress"] not in ("10.42.7.7", "10.42.7.8")
    await env.api.delete(f"containers/1i{first.id}")
    await env.until("instance", first.id, "removed")
    assert (await env.run(labels=wish))["primaryIpAddress"] == "10.42.7.7"


async def test_retained_addresses_survive_an_upgrade(env: Environment) -> None:
    service = await create_service(env, retainIp=True)
    before = await addresses(env, service)
    assert len(set(before.values())) == 2
    await upgrade(env, service)
    assert await addresses(env, service) == before
    await act(env, service, "finishupgrade")
    await env.until("service", service.id, "active")
    outsider = await env.run(labels={"io.rancher.container.requested_ip": ",".join(before.values())})
    assert outsider["primaryIpAddress"] not in before.values()


async def test_without_retaining_an_upgrade_brings_new_addresses(env: Environment) -> None:
    service = await create_service(env)
    before = await addresses(env, service)
    await upgrade(env, service)
    assert not set((await addresses(env, service)).values()) & set(before.values())


async def test_retained_addresses_move_to_another_host(env: Environment) -> None:
    service = await create_service(env, retainIp=True, scale=1)
    (container,) = await env.containers(service)
    await env.add_host("h2")
    await env.api.delete(f"containers/1i{container.id}")
    await env.api.post(f"hosts/1h{container['hostId']}/?action=deactivate", {})

    async def replaced() -> Record | None:
        found = [each for each in await env.containers(service) if each.id != container.id]
        return found[0] if found else None

    other = await env.eventually(replaced)
    assert other["hostId"] != container["hostId"]
    assert other["primaryIpAddress"] == container["primaryIpAddress"]
    assert other["primaryMacAddress"] == container["primaryMacAddress"]


async def test_present_addresses_are_kept_from_now_on(env: Environment) -> None:
    service = await create_service(env)
    before = await addresses(env, service)
    assert (await env.api.put(f"services/1s{service.id}", {"retainIp": True})).status == 200
    await env.until("service", service.id, "active")
    await upgrade(env, service)
    assert await addresses(env, service) == before


async def test_scaling_down_gives_an_address_back(env: Environment) -> None:
    service = await create_service(env, retainIp=True)
    before = await addresses(env, service)
    await env.api.put(f"services/1s{service.id}", {"scale": 1})
    left = await env.eventually(lambda: _when_single(env, service))
    freed = (set(before.values()) - {left}).pop()
    rows = await env.store.find_by("serviceIndex", serviceId=service.id, removed=None)
    assert [row["address"] for row in rows] == [left]
    await env.eventually(lambda: env.store.first("ipAddress", address=freed, state="removed"))
    taken = await env.run(labels={"io.rancher.container.requested_ip": freed})
    assert taken["primaryIpAddress"] == freed


async def _when_single(env: Environment, service: Record) -> str | None:
    found = await env.containers(service, running=False)
    return str(found[0]["primaryIpAddress"]) if len(found) == 1 else None


async def test_removing_the_service_gives_all_back(env: Environment) -> None:
    service = await create_service(env, retainIp=True, launchConfig={"requestedIpAddress": "10.42.9.1,10.42.9.2"})
    before = await addresses(env, service)
    assert set(before.values()) == {"10.42.9.1", "10.42.9.2"}
    await env.api.delete(f"services/1s{service.id}")
    await env.until("service", service.id, "removed")
    assert not await env.store.claimed("service-index:")
    await env.eventually(lambda: env.store.first("ipAddress", address="10.42.9.1", state="removed"))
    again = await env.run(labels={"io.rancher.container.requested_ip": "10.42.9.1"})
    assert again["primaryIpAddress"] == "10.42.9.1"


async def test_starting_the_new_first_is_refused(env: Environment) -> None:
    service = await create_service(env, retainIp=True)
    strategy = {"startFirst": True, "launchConfig": {"imageUuid": "docker:nginx:2"}}
    answer = await env.api.post(f"services/1s{service.id}/?action=upgrade", {"inServiceStrategy": strategy})
    assert (answer.status, answer.json["code"]) == (422, "InvalidOption")
