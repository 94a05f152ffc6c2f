from __future__ import annotations

from drover.server.orchestration.services.upgrade import prepare_rollback, prepare_upgrade
from drover.server.store import Record


def service(**values: object) -> Record:
    return Record(
        "service",
        1,
        {"name": "web", "launchConfig": {"imageUuid": "docker:a"}, "secondaryLaunchConfigs": [], **values},
    )


def test_a_new_version_marks_what_changes() -> None:
    old = service(secondaryLaunchConfigs=[{"name": "side", "imageUuid": "docker:s", "version": "7"}])
    values = prepare_upgrade(old, {"launchConfig": {"imageUuid": "docker:b"}})
    assert values["launchConfig"]["imageUuid"] == "docker:b"
    assert values["launchConfig"]["version"]
    assert values["secondaryLaunchConfigs"][0]["version"] == "7"
    strategy = values["upgrade"]["inServiceStrategy"]
    assert strategy["previousLaunchConfig"] == {"imageUuid": "docker:a"}


def test_configs_that_depend_on_a_changed_one_are_upgraded_with_it() -> None:
    side = {"name": "side", "imageUuid": "docker:s", "networkLaunchConfig": "web", "version": "7"}
    values = prepare_upgrade(service(secondaryLaunchConfigs=[side]), {"launchConfig": {"imageUuid": "docker:b"}})
    assert values["secondaryLaunchConfigs"][0]["version"] == values["launchConfig"]["version"]


def test_a_sidekick_with_the_image_none_is_dropped() -> None:
    side = {"name": "side", "imageUuid": "docker:s"}
    strategy = {"secondaryLaunchConfigs": [{"name": "side", "imageUuid": "docker:rancher/none"}]}
    assert prepare_upgrade(service(secondaryLaunchConfigs=[side]), strategy)["secondaryLaunchConfigs"] == []


def test_random_public_ports_stay() -> None:
    old = service(launchConfig={"imageUuid": "docker:a", "ports": ["49153:80/tcp", "8080:81/tcp"]})
    values = prepare_upgrade(old, {"launchConfig": {"imageUuid": "docker:b", "ports": ["80/tcp", "9090:81/tcp"]}})
    assert values["launchConfig"]["ports"] == ["49153:80/tcp", "9090:81/tcp"]


def test_rollback_brings_the_previous_configs_back() -> None:
    before = service()
    upgraded = before.merged(prepare_upgrade(before, {"launchConfig": {"imageUuid": "docker:b"}}))
    assert prepare_rollback(upgraded)["launchConfig"] == {"imageUuid": "docker:a"}
