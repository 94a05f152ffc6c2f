"""Volumes of containers: found by name, binding to hosts, cleaned up."""

from __future__ import annotations

from typing import Any

import pytest

from drover.server.orchestration.volumes.mounted import Mounted, read_mounts
from drover.server.store import Record
from tests.server.orchestration.conftest import Platform

pytestmark = pytest.mark.anyio

STRATEGY = "io.rancher.container.volume_cleanup_strategy"
BY_NAME = "io.rancher.scheduler.affinity:volumes"


async def volume(platform: Platform, **values: Any) -> Record:
    changes = platform.store.changes()
    given = {"kind": "volume", "state": "active", "accountId": platform.environment.id, "name": "data", **values}
    record = changes.insert("volume", given)
    await platform.store.commit(changes)
    return record


async def test_a_volume_is_found_by_its_name(platform: Platform) -> None:
    await platform.create_host()
    known = await volume(platform)
    container = await platform.start(dataVolumes=["data:/var/lib/x:ro", "/etc:/etc", "/anonymous"])
    assert container["dataVolumeMounts"] == {"/var/lib/x:ro": known.id}
    assert container["dataVolumes"] == ["data:/var/lib/x:ro", "/etc:/etc", "/anonymous"]


async def test_a_volume_given_by_id_is_mounted_by_its_name(platform: Platform) -> None:
    await platform.create_host()
    known = await volume(platform)
    container = await platform.start(dataVolumeMounts={"/x": known.id})
    assert container["dataVolumes"] == ["data:/x"]
    (mount,) = await platform.store.find_by("mount", instanceId=container.id)
    assert (mount["volumeId"], mount["path"], mount.state) == (known.id, "/x", "active")


async def test_two_volumes_of_a_name_are_one_too_many(platform: Platform) -> None:
    await platform.create_host()
    await volume(platform)
    await volume(platform)
    container = await platform.plan(dataVolumes=["data:/x"])
    removed = await platform.until("instance", container.id, "removed")
    assert "More than one volume with that name exists" in removed["transitioningMessage"]


async def test_each_host_has_its_own_local_volume_of_a_name(platform: Platform) -> None:
    """Such as those of infrastructure: no container is bound to the host where the name came up first."""
    first, second = await platform.create_host(), await platform.create_host()
    await volume(platform, hostId=first.id, driver="local", attachedState="inactive")
    there = await platform.start(dataVolumes=["data:/x"], requestedHostId=second.id)
    assert (there["hostId"], there["dataVolumes"]) == (second.id, ["data:/x"])
    await volume(platform, hostId=second.id, driver="local", attachedState="inactive")
    assert (await platform.start(dataVolumes=["data:/x"]))["hostId"] in (first.id, second.id)


async def test_a_driver_makes_its_volumes(platform: Platform) -> None:
    await platform.create_host()
    container = await platform.start(dataVolumes=["fresh:/x", "/y"], volumeDriver="rancher-nfs")
    named, anonymous = container["dataVolumes"]
    assert named == "fresh:/x"
    assert anonymous.endswith(":/y")
    found = await platform.store.find_by("volume", removed=None)
    assert {(row.name, row["driver"]) for row in found} == {
        ("fresh", "rancher-nfs"),
        (anonymous.partition(":")[0], "rancher-nfs"),
    }


async def test_a_local_volume_binds_its_containers_to_its_host(platform: Platform) -> None:
    first = await platform.create_host()
    await platform.create_host()
    known = await volume(platform, hostId=first.id, driver="local")
    for _ in range(3):
        container = await platform.start(dataVolumeMounts={"/x": known.id})
        assert container["hostId"] == first.id
    await platform.schedule("host.deactivate", first)
    await platform.until("host", first.id, "inactive")
    container = await platform.plan(dataVolumeMounts={"/x": known.id})
    failed = await platform.until("instance", container.id, "error")
    assert f"Volume data(id: {known.id}) can only be used on host" in failed["transitioningMessage"]


async def test_one_host_and_one_container_at_a_time(platform: Platform) -> None:
    await platform.create_host()
    await platform.create_host()
    known = await volume(platform, accessMode="singleHostRW", driver="rancher-ebs")
    first = await platform.start(dataVolumeMounts={"/x": known.id})
    second = await platform.start(dataVolumeMounts={"/x": known.id})
    assert second["hostId"] == first["hostId"]
    changes = platform.store.changes()
    changes.update(known, {"accessMode": "singleInstanceRW"})
    await platform.store.commit(changes)
    third = await platform.plan(dataVolumeMounts={"/x": known.id})
    failed = await platform.until("instance", third.id, "error")
    assert "is currently mounted by" in failed["transitioningMessage"]


@pytest.mark.parametrize(
    ("strategy", "name", "kept"),
    [("none", "a" * 64, True), ("unnamed", "a" * 64, False), ("unnamed", "data", True), ("all", "data", False)],
)
async def test_cleaning_up(platform: Platform, strategy: str, name: str, kept: bool) -> None:
    host = await platform.create_host()
    known = await volume(platform, name=name, hostId=host.id)
    container = await platform.start(dataVolumeMounts={"/x": known.id}, labels={STRATEGY: strategy})
    await platform.schedule("instance.stop", container, remove=True)
    await platform.until("instance", container.id, "removed")
    await platform.until("volume", known.id, "detached" if kept else "removed")


async def test_a_volume_that_another_container_mounts_stays(platform: Platform) -> None:
    host = await platform.create_host()
    known = await volume(platform, hostId=host.id)
    labels = {STRATEGY: "all"}
    first, _second = [await platform.start(dataVolumeMounts={"/x": known.id}, labels=labels) for _ in range(2)]
    await platform.schedule("instance.stop", first, remove=True)
    await platform.until("instance", first.id, "removed")
    assert (await platform.reload(known)).state == "active"


def test_mounts_of_docker() -> None:
    found = read_mounts(
        [
            {"Type": "volume", "Name": "rancher-cni", "Source": "/a", "Destination": "/.r"},
            {"Type": "volume", "Name": "v", "Driver": "local", "Source": "/s", "Destination": "/d", "RW": True},
            {"Type": "bind", "Source": "/var/lib/rancher/volumes/rancher-nfs/shared", "Destination": "/n", "RW": False},
        ]
    )
    assert found == [
        Mounted("v", "local", "/d", "file:///s", writable=True, is_host_path=False),
        Mounted(
            "shared",
            "rancher-nfs",
            "/n",
            "rancher-nfs:///var/lib/rancher/volumes/rancher-nfs/shared",
            writable=False,
            is_host_path=False,
        ),
    ]
