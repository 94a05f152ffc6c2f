from __future__ import annotations

from typing import Any

import pytest

from drover.simulator.model import OVERRIDES_KEY, Overrides, SimulatedAgent


def activation(own_uuid: str = "u1", **fields: Any) -> dict[str, Any]:
    instance: dict[str, Any] = {"uuid": own_uuid, "name": fields.pop("name", "web"), "data": {"fields": fields}}
    return {"instanceHostMap": {"instance": instance}}


def listed(agent: SimulatedAgent, now: float = 0.0) -> dict[str, str]:
    pong = agent.answer("ping", {"options": {"instances": True}}, now=now).data
    assert pong is not None
    assert pong["options"] == {"instances": True}
    return {each["uuid"]: each["state"] for each in pong["resources"] if each["type"] == "instance"}


def test_a_container_runs_stops_and_goes() -> None:
    agent = SimulatedAgent("a")
    reply = agent.answer("compute.instance.activate", activation(), now=1).data
    assert reply is not None
    assert reply["instanceHostMap"]["instance"]["externalId"]
    assert listed(agent) == {"u1": "running"}
    assert agent.answer("compute.instance.deactivate", activation(), now=2).data == {}
    assert listed(agent) == {"u1": "stopped"}
    assert agent.answer("compute.instance.remove", activation(), now=3).data == {}
    assert listed(agent) == {}


def test_a_repeated_activation_keeps_its_id() -> None:
    agent = SimulatedAgent("a")
    first = agent.answer("compute.instance.activate", activation(), now=1)
    assert agent.answer("compute.instance.activate", activation(), now=2) == first


def test_a_known_id_is_not_replaced() -> None:
    data = activation()
    data["instanceHostMap"]["instance"]["externalId"] = "d0c"
    agent = SimulatedAgent("a")
    assert agent.answer("compute.instance.activate", data, now=1).data == {}
    agent.answer("compute.instance.force.stop", {"instanceForceStop": {"kind": "docker", "id": "d0c"}}, now=2)
    assert listed(agent) == {"u1": "stopped"}


@pytest.mark.parametrize(
    "where", [{"name": "ping::fail"}, {"labels": {"x": "ping::fail"}}, {"environment": {"ping::fail": "1"}}]
)
def test_failing_on_purpose(where: dict[str, Any]) -> None:
    answer = SimulatedAgent("a").answer("ping", activation(**where), now=0)
    assert answer.error == "Failing [ping]"
    assert SimulatedAgent("a").answer("config.update", activation(**where), now=0).error is None


def test_switches() -> None:
    agent = SimulatedAgent("a")
    agent.answer("compute.instance.activate", activation("gone", name="simForgetImmediately"), now=0)
    agent.answer("compute.instance.activate", activation("short", labels={"simShutdownAfter": "5"}), now=10)
    assert agent.next_stop() == 15
    assert listed(agent, now=14) == {"short": "running"}
    assert listed(agent, now=15) == {"short": "stopped"}
    agent.answer("compute.instance.activate", activation("more", name="simCreateAnother_7"), now=20)
    assert len(listed(agent)) == 3
    assert agent.answer("compute.instance.activate", activation("x", name="simDisconnectAgent"), now=0).silent
    assert agent.answer("ping", {}, now=0).silent


def test_resources_follow_the_overrides() -> None:
    data = {OVERRIDES_KEY: {"hosts": "2", "storagePoolsPerHost": 3, "memory": "1024", "addPhysicalHost": "false"}}
    agent = SimulatedAgent("a", Overrides.of(data))
    pong = agent.answer("ping", {"options": {"resources": True}}, now=0).data
    assert pong is not None
    types = [each["type"] for each in pong["resources"]]
    assert (types.count("host"), types.count("storagePool"), types.count("physicalHost")) == (2, 6, 0)
    hosts = [each for each in pong["resources"] if each["type"] == "host"]
    assert [each["uuid"] for each in hosts] == ["a-0", "a-1"]
    assert {each["memory"] for each in hosts} == {1024}


def test_anything_else_is_agreed_to() -> None:
    agent = SimulatedAgent("a")
    assert agent.answer("storage.volume.remove", {"volumeStoragePoolMap": {}}, now=0).data == {}
    assert agent.answer("compute.instance.inspect", {}, now=0).data == {"instanceInspect": None}
    assert agent.answer("ping", None, now=0).data == {"resources": []}
