"""Volumes in Docker, volumes of storage drivers, and what must never be deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiodocker.exceptions import DockerError
from aiohttp import web

from drover.host.agent import volumes as module
from drover.host.agent.errors import AgentError
from drover.host.agent.images import no_progress
from drover.host.agent.payload import Instance, VolumeRequest, decode
from drover.host.agent.volumes import Volumes
from tests.host.agent.conftest import IMAGE

pytestmark = pytest.mark.anyio


def request(**volume: Any) -> VolumeRequest:
    return decode({"volumeStoragePoolMap": {"volume": {"id": 3, "deviceNumber": 1} | volume}}, VolumeRequest)


def fields(**values: Any) -> dict[str, Any]:
    return {"fields": values}


async def nobody(_: Instance) -> None:
    raise AssertionError("this volume is no root disk")


@pytest.mark.docker
async def test_docker_volumes_through_the_agent(agent, engine, new_instance):
    volume = {"id": 3, "name": "drover-test-vol", "deviceNumber": 1, "data": fields(driver="local", driverOpts={})}
    data = {"volumeStoragePoolMap": {"id": 1, "volume": volume}}
    reply = await agent.call("storage.volume.activate", "volumeStoragePoolMap", "1vspm1", data)
    assert reply["data"] == {"volumeStoragePoolMap": {"volume": {"format": "docker"}}}
    assert (await engine.inspect_volume("drover-test-vol"))["Driver"] == "local"
    mounted = new_instance(
        "vol", fields={"dataVolumes": ["drover-test-vol:/data"]}, volumesFromDataVolumeMounts=[volume]
    )
    started = await agent.call("compute.instance.activate", "instanceHostMap", "1ihm1", mounted)
    (mount,) = started["data"]["instanceHostMap"]["instance"]["+data"]["dockerMounts"]
    assert (mount["Name"], mount["Destination"]) == ("drover-test-vol", "/data")
    root = {"id": 9, "deviceNumber": 0, "instance": mounted["instanceHostMap"]["instance"]}
    removed = {"volumeStoragePoolMap": {"id": 2, "volume": root}}
    await agent.call("storage.volume.remove", "volumeStoragePoolMap", "1vspm2", removed)
    assert await engine.list_containers() == [], "a root disk goes with its container"
    await agent.call("storage.volume.remove", "volumeStoragePoolMap", "1vspm1", data)
    with pytest.raises(DockerError, match="no such volume"):
        await engine.inspect_volume("drover-test-vol")


@pytest.mark.docker
async def test_a_volume_in_use_leaks_once_the_server_insists(engine, docker_engine, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "REMOVE_PAUSE", 0.0)
    container = docker_engine.docker("run", "-d", "-v", "drover-busy:/x", IMAGE)
    volumes = Volumes(engine, plugin_dir=tmp_path)
    busy = request(name="drover-busy", data=fields(driver="local"))
    with pytest.raises(DockerError, match="volume is in use"):
        await volumes.remove(busy, remove_root_of=nobody)
    await volumes.remove(busy, remove_root_of=nobody)
    docker_engine.docker("rm", "-f", container)
    await volumes.remove(busy, remove_root_of=nobody)
    with pytest.raises(DockerError):
        await engine.inspect_volume("drover-busy")


class Driver:
    """A storage driver's socket."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        self.calls: list[tuple[str, str | None]] = []
        self.error = ""

    async def serve(self, incoming: web.Request) -> web.Response:
        method = incoming.path.removeprefix("/VolumeDriver.")
        body = await incoming.json()
        if method == "Capabilities":
            return web.json_response({"Capabilities": {"Scope": self.scope}})
        self.calls.append((method, body["Name"]))
        return web.json_response({"Mountpoint": "/mnt/x", "Err": self.error})


@pytest.fixture
async def driver(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Driver]:
    served = Driver("flex")
    app = web.Application()
    app.router.add_post("/{call}", served.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "rancher-nfs.sock")).start()
    yield served
    await runner.cleanup()


class NoDocker:
    """An engine that knows no volume and must not be asked to make one."""

    async def inspect_volume(self, name: str) -> dict[str, Any]:
        raise DockerError(404, "no such volume")


async def test_a_flex_driver_mounts_by_itself(driver: Driver, tmp_path: Path):
    volumes = Volumes(NoDocker(), plugin_dir=tmp_path)  # type: ignore[arg-type]
    volume = {"name": "vol", "data": fields(driver="rancher-nfs", driverOpts={"export": "/e"})}
    instance = decode({"uuid": "u", "volumesFromDataVolumeMounts": [volume]}, Instance)
    assert await volumes.prepare(instance) == {"vol": "/mnt/x"}
    assert driver.calls == [("Create", "vol"), ("Attach", "vol"), ("Mount", "vol")]
    await volumes.remove(request(**volume), remove_root_of=nobody)
    assert driver.calls[-1] == ("Remove", "vol")
    driver.error = "the export is gone"
    with pytest.raises(AgentError, match="the export is gone"):
        await volumes.activate(request(**volume), no_progress)


async def test_a_missing_driver_says_what_to_start(tmp_path: Path):
    volumes = Volumes(NoDocker(), plugin_dir=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(AgentError, match="rancher-ebs does not run on this host"):
        await volumes.activate(request(name="v", data=fields(driver="rancher-ebs")), no_progress)


async def test_only_the_platforms_own_folders_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "DELETABLE_ROOT", tmp_path / "volumes")
    mine, theirs = tmp_path / "volumes" / "v", tmp_path / "home"
    for folder in (mine, theirs):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    volumes = Volumes(NoDocker(), plugin_dir=tmp_path)  # type: ignore[arg-type]
    for uri in (f"file://{theirs}", f"file://{mine}/../../home", "file:///", "nfs://x"):
        await volumes.remove(request(uri=uri), remove_root_of=nobody)
    await volumes.remove(request(uri=f"file://{mine}", data=fields(isHostPath=True)), remove_root_of=nobody)
    assert theirs.exists()
    assert mine.exists()
    await volumes.remove(request(uri=f"file://{mine}"), remove_root_of=nobody)
    assert not mine.exists()
