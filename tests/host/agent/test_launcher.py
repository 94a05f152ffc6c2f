"""The registration container launches the permanent one, and takes nothing away when that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from drover.host.agent import launcher
from drover.host.agent.errors import AgentError, RegistrationError
from drover.host.agent.launcher import launch_agent_container, own_container, registration_container
from drover.host.agent.registration import Credentials
from drover.host.agent.settings import AgentSettings
from tests.host.agent.conftest import IMAGE

pytestmark = [pytest.mark.anyio, pytest.mark.docker]

KEYS = Credentials("http://s:8080/v1", "AK", "SK", "10.1.2.3")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "SETTLE_SECONDS", 0.2)
    monkeypatch.setattr(launcher, "STOP_GRACE", 0)
    original = launcher.agent_container

    def harmless(*arguments, **keywords):
        """Without the host's folders, and without rights that a test machine may lack itself."""
        body = original(*arguments, **keywords)
        body["HostConfig"] |= {"Binds": [], "Privileged": False, "OomScoreAdj": 0}
        return body

    monkeypatch.setattr(launcher, "agent_container", harmless)


async def test_launches_and_replaces(engine, docker_engine):
    own = await engine.inspect_container(docker_engine.docker("run", "-d", "--name", "any", IMAGE))
    first = await launch_agent_container(engine, own, KEYS, environ={"CATTLE_HOST_LABELS": "a=b", "HOME": "/root"})
    inspect = await engine.inspect_container("rancher-agent")
    assert inspect["Id"] == first
    assert inspect["Config"]["Image"] == IMAGE
    environment = dict(entry.split("=", 1) for entry in inspect["Config"]["Env"])
    assert environment["CATTLE_ACCESS_KEY"] == "AK"
    assert environment["CATTLE_SECRET_KEY"] == "SK"
    assert environment["CATTLE_AGENT_IP"] == "10.1.2.3"
    assert environment["CATTLE_HOST_LABELS"] == "a=b"
    assert environment["RANCHER_AGENT_IMAGE"] == IMAGE
    assert "HOME" not in environment
    host = inspect["HostConfig"]
    assert (host["NetworkMode"], host["PidMode"]) == ("host", "host")
    assert host["RestartPolicy"]["Name"] == "always"
    second = await launch_agent_container(engine, own, KEYS, environ={})
    assert (await engine.inspect_container("rancher-agent"))["Id"] == second
    assert first not in [row["Id"] for row in await engine.list_containers()]


async def test_the_old_agent_comes_back_when_the_new_one_does_not_run(engine, docker_engine):
    own = await engine.inspect_container(docker_engine.docker("run", "-d", "--name", "any", IMAGE))
    first = await launch_agent_container(engine, own, KEYS, environ={})
    broken = {**own, "Config": {"Image": "drover-test/missing:1"}}
    with pytest.raises(AgentError, match="could not be started"):
        await launch_agent_container(engine, broken, KEYS, environ={})
    inspect = await engine.inspect_container("rancher-agent")
    assert inspect["Id"] == first
    assert inspect["State"]["Running"]


async def test_sees_the_host_through_the_registration_containers_mounts(monkeypatch):
    monkeypatch.undo()
    own = {
        "Config": {"Image": "i"},
        "Mounts": [
            {"Destination": "/var/run/docker.sock", "Source": "/run/other.sock"},
            {"Destination": "/var/lib/rancher", "Source": "/data/rancher", "RW": True},
        ],
    }
    host = launcher.agent_container(own, KEYS, environ={})["HostConfig"]
    assert (host["Privileged"], host["OomScoreAdj"]) == (True, -500)
    binds = host["Binds"]
    assert "/run/other.sock:/var/run/docker.sock" in binds
    assert "/data/rancher:/var/lib/rancher" in binds
    # The agent would keep that volume, which goes when the host is removed.
    assert not any("rancher-cni" in bind for bind in binds)
    bare = launcher.agent_container({"Config": {"Image": "i"}}, KEYS, environ={})["HostConfig"]["Binds"]
    assert "rancher-agent-state:/var/lib/rancher" in bare


async def test_knows_whether_it_is_the_registration_container(engine, docker_engine, tmp_path: Path, monkeypatch):
    container = docker_engine.docker("run", "-d", IMAGE)
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(
        f"1 2 8:1 /var/lib/docker/containers/{container}/hostname /etc/hostname rw - ext4 /dev/sda rw\n"
    )
    own = await own_container(engine, mountinfo=mountinfo)
    assert own is not None
    assert own["Id"] == container
    mountinfo.write_text(f"1 2 8:1 /containers/{'0' * 64}/hostname /etc/hostname rw - ext4 /dev/sda rw\n")
    assert await own_container(engine, mountinfo=mountinfo) is None
    assert await registration_container(engine, AgentSettings(registration_url="http://s/v1/scripts/x")) is None
    mountinfo.write_text(f"1 2 8:1 /containers/{container}/hostname /etc/hostname rw - ext4 /dev/sda rw\n")

    async def in_container(engine, *, mountinfo=mountinfo):
        return await own_container(engine, mountinfo=mountinfo)

    monkeypatch.setattr(launcher, "own_container", in_container)
    with pytest.raises(RegistrationError, match="localhost"):
        await registration_container(engine, AgentSettings(registration_url="http://localhost/v1/scripts/x"))
    found = await registration_container(engine, AgentSettings(registration_url="http://s/v1/scripts/x"))
    assert found is not None
    assert await registration_container(engine, AgentSettings()) is None
    docker_engine.docker("rename", container, "rancher-agent")
    assert await registration_container(engine, AgentSettings(registration_url="http://s/v1/scripts/x")) is None
