"""What an `up` changes on a live service."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from drover.compose import diff_service, plan_services, update_body, upgrade_launch_configs
from drover.compose.hash import HASH_KEY

TEXT = """
web: {image: a:1, ports: [80], environment: {A: 1, DB_PASSWORD: old}, labels: {io.rancher.sidekicks: 'one,two', x: y}}
one: {image: b}
two: {image: c}
"""


@pytest.fixture
def live(load: Callable) -> dict[str, Any]:
    return {**copy.deepcopy(plan_services(load(TEXT))[0].body), "id": "1s1", "scale": 3, "state": "active"}


def unhashed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: unhashed(inner) for key, inner in value.items() if key != HASH_KEY}
    return [unhashed(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("with_hashes", [True, False])
def test_changes_are_found_and_explained(with_hashes: bool, load: Callable, live: dict[str, Any]) -> None:
    changed = """
web:
  image: a:2
  environment: {A: 1, DB_PASSWORD: new, B: 2}
  labels: {io.rancher.sidekicks: 'one,three'}
  retain_ip: true
one: {image: b2}
three: {image: d}
"""
    plan = plan_services(load(changed))[0]
    change = diff_service(plan, live if with_hashes else unhashed(live))
    assert change.service
    assert change.primary
    assert change.sidekicks_changed == ("one",)
    assert change.sidekicks_added == ("three",)
    assert change.sidekicks_removed == ("two",)
    assert change.needs_upgrade
    assert change
    text = "\n".join(change.details)
    assert "launchConfig.imageUuid: docker:a:1 -> docker:a:2" in text
    assert "launchConfig.environment.B: (none) -> 2" in text
    assert "launchConfig.labels.x: removed" in text
    assert "retainIp: (none) -> true" in text
    assert "three: new sidekick" in text
    assert "two: sidekick removed" in text
    assert "launchConfig.environment.DB_PASSWORD: (hidden) -> (hidden)" in text
    assert "old" not in text
    strategy = upgrade_launch_configs(change, plan.body)
    assert strategy["launchConfig"]["imageUuid"] == "docker:a:2"
    assert [(one["name"], one["imageUuid"]) for one in strategy["secondaryLaunchConfigs"]] == [
        ("one", "docker:b2"),
        ("three", "docker:d"),
        ("two", "rancher/none"),
    ]


def test_only_what_changed_is_upgraded(load: Callable, live: dict[str, Any]) -> None:
    plan = plan_services(load(TEXT, "two: {image: c2}"))[0]
    change = diff_service(plan, live)
    assert (change.service, change.primary, change.sidekicks_changed) == (False, False, ("two",))
    strategy = upgrade_launch_configs(change, plan.body)
    assert list(strategy) == ["secondaryLaunchConfigs"]


def test_another_sidekick_is_no_reason_to_replace_the_primary(load: Callable, live: dict[str, Any]) -> None:
    """Its label names the sidekicks; nothing in its container depends on it."""
    change = diff_service(plan_services(load(TEXT.replace("one,two", "one,two,three") + "three: {image: d}"))[0], live)
    assert not change.primary
    assert change.sidekicks_added == ("three",)
    renamed = TEXT.replace("one,two", "one,two,three").replace("x: y", "x: z") + "three: {image: d}"
    assert diff_service(plan_services(load(renamed))[0], live).primary


def test_a_service_made_in_the_ui_is_compared_field_by_field(load: Callable, live: dict[str, Any]) -> None:
    made = unhashed(live)
    made["launchConfig"].update(startOnCreate=True, vcpu=1, tty=False, logConfig={"driver": "", "config": {}})
    made["launchConfig"]["labels"]["io.rancher.added.by.server"] = "x"
    assert not diff_service(plan_services(load(TEXT))[0], made)
    made["launchConfig"]["environment"]["C"] = "3"
    change = diff_service(plan_services(load(TEXT))[0], made)
    assert change.primary
    assert change.details == ("launchConfig.environment.C: removed",)


def test_numbers_compare_as_text(load: Callable) -> None:
    plan = plan_services(load("web: {image: a, metadata: {n: 5}}"))[0]
    assert not diff_service(plan, unhashed({**plan.body, "metadata": {"n": "5"}}))


@pytest.mark.parametrize(
    ("file_scale", "deployed", "live_scale", "result"),
    [(None, 2, 3, None), (2, 2, 3, None), (4, 2, 3, 4), (3, 2, 3, None), (4, None, 3, None), (0, 2, 3, None)],
)
def test_scale_is_a_three_way_comparison(
    file_scale: int | None, deployed: int | None, live_scale: int, result: int | None, load: Callable
) -> None:
    text = "web: {image: a}" if file_scale is None else f"web: {{image: a, scale: {file_scale}}}"
    plan = plan_services(load(text))[0]
    change = diff_service(plan, {**plan.body, "scale": live_scale}, deployed_scale=deployed)
    assert change.scale == result
    assert bool(change) is (result is not None)


def test_services_without_containers_are_never_upgraded(load: Callable) -> None:
    before = plan_services(load("ext: {external_ips: [1.1.1.1]}"))[0].body
    change = diff_service(plan_services(load("ext: {external_ips: [2.2.2.2], hostname: h}"))[0], before)
    assert change.service
    assert not change.needs_upgrade


def test_ports_may_have_gained_the_default_protocol(load: Callable, live: dict[str, Any]) -> None:
    made = unhashed(live)
    made["launchConfig"]["ports"] = ["80/tcp"]
    assert not diff_service(plan_services(load(TEXT))[0], made)
    made["launchConfig"]["ports"] = ["80/udp"]
    assert diff_service(plan_services(load(TEXT))[0], made).primary


def test_a_put_takes_away_what_the_file_no_longer_says(load: Callable) -> None:
    before = plan_services(
        load("web: {image: a, retain_ip: true, description: d, scale_policy: {min: 1}, metadata: {a: 1}, scale: 3}")
    )[0]
    after = plan_services(load("web: {image: a}"))[0]
    assert diff_service(after, before.body).service
    update = update_body(after.body, before.body)
    assert {key: value for key, value in update.items() if key != "metadata"} == {
        "retainIp": False,
        "description": None,
        "scalePolicy": None,
    }
    assert list(update["metadata"]) == [HASH_KEY]
