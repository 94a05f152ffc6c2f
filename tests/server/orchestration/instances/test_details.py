"""What a container is created with, and what an agent is told about it."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from drover.server.bus import Event
from drover.server.orchestration.credentials import seal
from drover.server.store import Record
from tests.server.orchestration.conftest import Platform, leave_unanswered, next_event

pytestmark = pytest.mark.anyio


async def sent_to(platform: Platform, host: Record, **values: Any) -> dict[str, Any]:
    """The payload of the activation of a new container."""
    subscription = platform.context.bus.subscribe([f"compute.instance.activate;agent={host['agentId']}"])
    await platform.start(**values)
    (event, *_) = await subscription.get_batch()
    subscription.close()
    data: dict[str, Any] = event.data
    return data


async def test_the_payload_has_the_shape_that_agents_read(platform: Platform) -> None:
    host = await platform.create_host()
    data = await sent_to(
        platform,
        host,
        name="web",
        imageUuid="docker:registry.example:5000/shop/web:1",
        ports=["10.0.0.1:8080:80/tcp"],
        environment={"A": "1"},
        memoryReservation=5,
    )
    instance = data["instanceHostMap"]["instance"]
    assert data["processData"] == {"containerNoOpEvent": False}
    assert instance["name"] == "web"
    assert instance["memoryReservation"] == 5
    fields = instance["data"]["fields"]
    assert fields["environment"] == {"A": "1"}
    assert fields["imageUuid"] == "docker:registry.example:5000/shop/web:1"
    assert instance["image"]["data"]["dockerImage"] == {"server": "registry.example:5000", "fullName": "shop/web:1"}
    (port,) = instance["ports"]
    assert (port["privatePort"], port["publicPort"], port["protocol"]) == (80, 8080, "tcp")
    assert port["data"]["fields"]["bindAddress"] == "10.0.0.1"
    (nic,) = instance["nics"]
    assert nic["network"]["kind"] == "cni"
    (address,) = nic["ipAddresses"]
    assert address["subnet"]["cidrSize"] == 16
    assert nic["macAddress"]
    (row,) = await platform.store.find_by("port", removed=None)
    assert (row["publicPort"], row["privatePort"], row.kind, row.state) == (8080, 80, "userPort", "active")


async def test_the_agent_program_understands_the_payload(platform: Platform) -> None:
    payload = pytest.importorskip("drover.host.agent.payload")
    host = await platform.create_host()
    data = await sent_to(platform, host, name="web", ports=["8080:80"], labels={"a": "b"})
    request = payload.decode(data, payload.InstanceRequest)
    instance = request.instance_host_map.instance
    assert instance.labels["a"] == "b"
    assert instance.network_kind == "cni"
    assert instance.nics[0].ip_addresses[0].address.startswith("10.42.")
    assert not request.no_op


async def test_a_container_with_an_agent_finds_its_keys(platform: Platform) -> None:
    host = await platform.create_host()
    labels = {
        "io.rancher.container.create_agent": "true",
        "io.rancher.container.agent.role": "agent,environment",
    }
    data = await sent_to(platform, host, labels=labels)
    fields = data["instanceHostMap"]["instance"]["data"]["fields"]
    environment = fields["environment"]
    access, secret = environment["CATTLE_AGENT_ACCESS_KEY"], environment["CATTLE_AGENT_SECRET_KEY"]
    assert len(access) == 20
    expected = base64.b64encode(f"{access}:{secret}".encode()).decode()
    assert environment["CATTLE_AGENT_INSTANCE_AGENT_AUTH"] == f"Basic {expected}"
    assert environment["CATTLE_ENVIRONMENT_ACCESS_KEY"] != access
    assert "/var/lib/rancher/etc:/var/lib/rancher/etc:ro" in fields["dataVolumes"]
    row = await platform.store.get("instance", data["instanceHostMap"]["instance"]["id"])
    assert row is not None
    assert row["environment"] is None, "keys are told to the agent, not stored with the container"
    agent = await platform.store.get("agent", row["agentId"])
    assert agent is not None
    assert (agent.state, agent["uri"]) == ("active", f"event:///instanceId={row.id}")
    await platform.schedule("instance.stop", row, remove=True)
    await platform.until("agent", agent.id, "removed")


async def test_the_registrys_credential_goes_with_the_image(platform: Platform) -> None:
    host = await platform.create_host()
    changes = platform.store.changes()
    account_id = platform.environment.id
    registry = changes.insert(
        "storagePool",
        {"kind": "registry", "state": "active", "serverAddress": "registry.example", "accountId": account_id},
    )
    changes.insert(
        "credential",
        {
            "kind": "registryCredential",
            "state": "active",
            "registryId": registry.id,
            "accountId": account_id,
            "publicValue": "user",
            "secretValue": seal("secret", platform.context.vault, kind="registryCredential"),
        },
    )
    await platform.store.commit(changes)
    data = await sent_to(platform, host, imageUuid="docker:registry.example/app")
    credential = data["instanceHostMap"]["instance"]["image"]["registryCredential"]
    assert (credential["publicValue"], credential["secretValue"]) == ("user", "secret")
    data = await sent_to(platform, host, imageUuid="docker:nginx")
    assert data["instanceHostMap"]["instance"]["image"]["registryCredential"] is None


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("host", "dockerHost"), ("none", "dockerNone"), ("bridge", "dockerBridge"), (None, "cni"), ("managed", "cni")],
)
async def test_network_modes(platform: Platform, mode: str | None, kind: str) -> None:
    host = await platform.create_host()
    data = await sent_to(platform, host, networkMode=mode)
    (nic,) = data["instanceHostMap"]["instance"]["nics"]
    assert nic["network"]["kind"] == kind
    assert bool(nic["ipAddresses"]) is (kind == "cni")


async def test_an_unknown_network_is_named(platform: Platform) -> None:
    await platform.create_host()
    container = await platform.plan(networkMode="nowhere")
    removed = await platform.until("instance", container.id, "removed")
    assert removed["transitioningMessage"] == "Failed to find network for networkMode nowhere"


async def test_requested_addresses_are_wishes(platform: Platform) -> None:
    await platform.create_host()
    wish = {"io.rancher.container.requested_ip": "10.42.7.7,10.42.7.8"}
    first, second, third = [await platform.start(labels=wish) for _ in range(3)]
    assert first["primaryIpAddress"] == "10.42.7.7"
    assert second["primaryIpAddress"] == "10.42.7.8"
    assert third["primaryIpAddress"] not in ("10.42.7.7", "10.42.7.8")


async def test_count_makes_several(platform: Platform) -> None:
    await platform.create_host()
    await platform.start(name="web", count=3)

    async def three() -> bool:
        rows = await platform.store.find_by("instance", state="running")
        return sorted(str(row.name) for row in rows) == ["web", "web-2", "web-3"]

    assert await platform.eventually(three)


async def test_progress_of_the_agent_is_shown(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_unanswered(monkeypatch, "compute.instance.activate")
    host = await platform.create_host()
    agent_id = host["agentId"]
    subscription = platform.context.bus.subscribe([f"compute.instance.activate;agent={agent_id}"])
    container = await platform.plan()
    question = await next_event(subscription)
    reply = {"name": question.reply_to, "previous_ids": [question.id]}
    progress = Event(**reply, transitioning="yes", transitioning_message="Pulling nginx", transitioning_progress=40)
    platform.context.bus.reply(progress, sender=f"agent:{agent_id}")

    async def shown() -> bool:
        row = await platform.reload(container)
        return bool(row["transitioningMessage"] == "Storage : Pulling nginx" and row["transitioningProgress"] == 40)

    await platform.eventually(shown)
    platform.context.bus.reply(Event(**reply, data={}), sender=f"agent:{agent_id}")
    running = await platform.until("instance", container.id, "running")
    assert running["transitioningMessage"] is None


async def test_a_container_of_a_lost_host_is_let_go_if_it_never_ran(platform: Platform) -> None:
    host = await platform.create_host()
    platform.hosting.simulated.model(host["agentId"]).connected = False
    container = await platform.plan()
    await platform.until("agent", host["agentId"], "disconnected")
    async with asyncio.timeout(60):
        while (await platform.reload(container)).state not in ("error", "removed"):
            await asyncio.sleep(0.02)


async def test_mounts_reported_by_docker_become_volumes(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_unanswered(monkeypatch, "compute.instance.activate")
    host = await platform.create_host()
    agent_id = host["agentId"]
    subscription = platform.context.bus.subscribe([f"compute.instance.activate;agent={agent_id}"])
    container = await platform.plan()
    question = await next_event(subscription)
    mounts = [
        {
            "Type": "volume",
            "Name": "a" * 64,
            "Driver": "local",
            "Source": "/x/_data",
            "Destination": "/data",
            "RW": True,
        },
        {"Type": "bind", "Source": "/etc", "Destination": "/host-etc", "RW": False},
    ]
    reply = {"externalId": "d0c", "+data": {"dockerMounts": mounts, "+fields": {"dockerIp": "172.17.0.5"}}}
    platform.context.bus.reply(
        Event(
            name=question.reply_to or "",
            previous_ids=[question.id],
            data={"instanceHostMap": {"instance": reply}},
        ),
        sender=f"agent:{agent_id}",
    )
    running = await platform.until("instance", container.id, "running")
    assert running["externalId"] == "d0c"
    rows = {row["path"]: row for row in await platform.store.find_by("mount", instanceId=container.id)}
    assert {path: row["permissions"] for path, row in rows.items()} == {"/data": "rw", "/host-etc": "ro"}
    await platform.schedule("instance.stop", running, remove=True)
    await platform.until("instance", container.id, "removed")
    await platform.until("volume", rows["/data"]["volumeId"], "removed")
    await platform.until("volume", rows["/host-etc"]["volumeId"], "removed")
