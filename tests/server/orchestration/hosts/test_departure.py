"""What a removed host is told to take back, and what happens when it cannot be told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from drover.client.events import HOST_CLEANUP
from drover.server.orchestration import simulated
from drover.server.store import Record
from drover.simulator.model import Answer, SimulatedAgent
from tests.server.orchestration.conftest import FAST, Platform, running
from tests.server.orchestration.instances.test_crash import crash

pytestmark = pytest.mark.anyio

DECLARED = {
    "io.rancher.stack_service.name": "network-services/network-manager",
    "io.drover.host.cleanup": "network-manager --cleanup",
    "io.drover.host.cleanup.volumes": "cni-driver, cni-state",
}


class Heard:
    """What simulated hosts were asked, with the containers that they still had; `clean_up` answers clean-ups."""

    def __init__(self) -> None:
        self.cleanups: list[tuple[dict[str, Any], int]] = []
        self.removed: list[str] = []
        self.answer: Callable[[], Answer] = lambda: Answer({})

    def take(self, agent: SimulatedAgent, name: str, data: Any) -> Answer | None:
        if name == "compute.instance.remove":
            self.removed.append(str(data["instanceHostMap"]["instance"]["name"]))
        if name != HOST_CLEANUP:
            return None
        self.cleanups.append((data["hostCleanup"], len(agent.containers)))
        return self.answer()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    heard, original = Heard(), SimulatedAgent.answer

    def answer(self: SimulatedAgent, name: str, data: Any, *, now: float) -> Answer:
        return heard.take(self, name, data) or original(self, name, data, now=now)

    monkeypatch.setattr(SimulatedAgent, "answer", answer)
    return heard


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with capture_logs() as logs:
        yield logs


def not_cleaned(logged: list[Any]) -> list[Any]:
    return [each for each in logged if each["event"] == "host.not_cleaned_up"]


async def start_manager(platform: Platform, **values: Any) -> Record:
    given: dict[str, Any] = {
        "name": "manager",
        "system": True,
        "labels": DECLARED,
        "networkMode": "host",
        "pidMode": "host",
        "capAdd": ["NET_ADMIN"],
        "command": ["network-manager"],
        "dataVolumes": ["/run:/run"],
        "environment": {"PASSWORD": "secret"},
        **values,
    }
    return await platform.start(**given)


async def remove(platform: Platform, host: Record) -> Record:
    await platform.schedule("host.deactivate", host, chainTo="host.remove")
    return await platform.until("host", host.id, "removed")


async def test_programs_take_back_what_they_did_when_nothing_runs_any_more(platform: Platform, heard: Heard) -> None:
    host = await platform.create_host()
    manager = await start_manager(platform)
    await platform.start(name="web")
    await remove(platform, host)
    ((request, containers),) = heard.cleanups
    assert containers == 0
    assert list(dict.fromkeys(heard.removed)) == ["web", "manager"], (
        "containers of users have their network until they end"
    )
    assert request["volumes"] == ["cni-driver", "cni-state"]
    (program,) = request["programs"]
    instance = program["instance"]
    fields = instance["data"]["fields"]
    assert (instance["uuid"], instance["name"]) == (manager.uuid, "manager-cleanup")
    assert fields["command"] == ["network-manager", "--cleanup"]
    assert (fields["capAdd"], fields["pidMode"], fields["dataVolumes"]) == (["NET_ADMIN"], "host", ["/run:/run"])
    assert fields["environment"] == {"PASSWORD": "secret"}
    assert instance["nics"][0]["network"]["kind"] == "dockerHost"
    assert instance.get("externalId") is None


async def test_a_program_without_the_hosts_network_gets_none(platform: Platform, heard: Heard) -> None:
    host = await platform.create_host()
    await start_manager(platform, networkMode="managed", ports=["80:80"])
    await remove(platform, host)
    instance = heard.cleanups[0][0]["programs"][0]["instance"]
    assert instance["nics"][0]["network"]["kind"] == "dockerNone"
    assert instance["ports"] == []


async def test_the_agent_is_told_also_when_no_program_declares_anything(platform: Platform, heard: Heard) -> None:
    """It made something of its own for the environment."""
    host = await platform.create_host()
    await remove(platform, host)
    assert heard.cleanups == [({"programs": [], "volumes": []}, 0)]


async def test_two_containers_of_a_program_are_cleaned_up_after_once(platform: Platform, heard: Heard) -> None:
    host = await platform.create_host()
    await start_manager(platform, imageUuid="sim:old")
    await start_manager(platform, imageUuid="sim:new")
    await remove(platform, host)
    (program,) = heard.cleanups[0][0]["programs"]
    assert "new" in program["instance"]["data"]["fields"]["imageUuid"]


async def test_a_program_that_went_before_its_host_counts_as_well(platform: Platform, heard: Heard) -> None:
    host = await platform.create_host()
    manager = await start_manager(platform)
    await platform.schedule("instance.stop", manager, remove=True)
    await platform.until("instance", manager.id, "removed")
    await remove(platform, host)
    assert len(heard.cleanups[0][0]["programs"]) == 1


async def test_a_program_may_leave_nothing_but_a_volume(platform: Platform, heard: Heard) -> None:
    host = await platform.create_host()
    await start_manager(platform, labels={"io.drover.host.cleanup.volumes": "charon"})
    await remove(platform, host)
    assert heard.cleanups == [({"programs": [], "volumes": ["charon"]}, 0)]


async def test_what_users_declare_does_not_count(platform: Platform, heard: Heard) -> None:
    host = await platform.create_host()
    await platform.start(labels=DECLARED)
    await remove(platform, host)
    assert heard.cleanups == [({"programs": [], "volumes": []}, 0)]


async def test_a_server_that_dies_meanwhile_asks_again(tmp_path: Path, heard: Heard) -> None:
    heard.answer = lambda: Answer(silent=True)
    async with running(tmp_path, FAST) as platform:
        host = await platform.create_host()
        await start_manager(platform)
        await platform.schedule("host.deactivate", host, chainTo="host.remove")
        await platform.eventually(lambda: heard.cleanups)
        await crash(platform)
        environment = platform.environment
    heard.answer = lambda: Answer({})
    async with running(tmp_path, FAST, environment=environment) as platform:
        await platform.until("host", host.id, "removed")
    first, second = heard.cleanups
    assert first == second, "the second server finds no container any more, and knows all the same"


async def test_a_refusal_is_no_reason_to_keep_the_host(platform: Platform, heard: Heard, logged: list[Any]) -> None:
    heard.answer = lambda: Answer(error="iptables is not there")
    host = await platform.create_host()
    await start_manager(platform)
    await remove(platform, host)
    assert len(heard.cleanups) == 3
    (line,) = not_cleaned(logged)
    assert line["reason"] == "iptables is not there"


async def test_an_agent_that_does_not_know_the_request(
    platform: Platform, heard: Heard, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated, "EVENTS", tuple(name for name in simulated.EVENTS if name != HOST_CLEANUP))
    host = await platform.create_host()
    await start_manager(platform, imageUuid="docker:drover:7")
    await remove(platform, host)
    assert heard.cleanups == []
    (line,) = not_cleaned(logged)
    assert line["log_level"] == "warning"
    assert line["run_on_the_host"] == (
        "docker run --rm --network=host --pid=host --cap-add=NET_ADMIN -v /run:/run drover:7 network-manager --cleanup"
        "; docker volume rm cni-driver cni-state"
    )


async def test_a_host_that_is_not_connected(platform: Platform, heard: Heard, logged: list[Any]) -> None:
    host = await platform.create_host()
    await start_manager(platform)
    platform.hosting.simulated.model(host["agentId"]).connected = False
    await platform.until("agent", host["agentId"], "disconnected")
    await remove(platform, host)
    assert heard.cleanups == []
    (line,) = not_cleaned(logged)
    assert line["reason"] == "its agent is not connected"
    assert "secret" not in line["run_on_the_host"]


async def test_containers_of_others_stay_and_are_forgotten(platform: Platform, heard: Heard) -> None:
    host = await platform.create_host()
    ours = await platform.start(name="ours")
    theirs = await platform.start(name="theirs", nativeContainer=True)
    await remove(platform, host)
    assert heard.removed == ["ours"]
    for container in (ours, theirs):
        forgotten = await platform.reload(container)
        assert (forgotten.state, forgotten["allocationState"]) == ("removed", "inactive")
        assert forgotten["removed"]
