"""Policies in the kernel: real packets between real containers of one host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from drover.client.world import Membership, Service, Stack
from tests.host.network.lonely_host import LonelyHost, ManagerProcess, eventually, lonely_host
from tests.host.network.worlds import container, frame, network, stock

pytestmark = [pytest.mark.docker, pytest.mark.slow]

SERVE = "while true; do echo served | nc -l -p 80; done"
ADDRESSES = {"web": "10.42.0.11", "db": "10.42.0.21", "posts": "10.42.0.31"}
TIERS = {"web": "front", "db": "back", "posts": "front"}
OPEN = {"web>db", "web>posts", "db>web", "db>posts", "posts>web", "posts>db"}


class Scene:
    """Three services of two stacks; web is linked to db."""

    def __init__(self, host: LonelyHost, manager: ManagerProcess) -> None:
        self.host = host
        self.manager = manager
        self._revision = 1
        manager.show(frame(*stock()))
        self.ids = {name: host.start(address, "sh", "-c", SERVE) for name, address in ADDRESSES.items()}
        for each in self.ids.values():
            manager.attached(each)

    def apply(self, policy: list[dict[str, Any]] | None, action: str) -> None:
        self._revision += 1
        objects = [
            Stack(uuid="shop", name="shop", environment_uuid="env"),
            Stack(uuid="blog", name="blog", environment_uuid="env"),
        ]
        for name, address in ADDRESSES.items():
            stack = "blog" if name == "posts" else "shop"
            links = {"shop/db": "db"} if name == "web" else {}
            service = {"uuid": name, "name": name, "stack_uuid": stack, "stack_name": stack, "links": links}
            objects.append(Service(**service, environment_uuid="env"))
            objects.append(
                container(
                    f"{name}1",
                    address,
                    docker_id=self.ids[name],
                    memberships=(Membership(service_uuid=name, service_name=name),),
                    labels={"tier": TIERS[name]},
                )
            )
        own = network(policy=policy, action=action)
        self.manager.show(frame(*stock(*objects, own=own), revision=self._revision))

    def reaches(self, source: str, target: str, *, timeout: int = 1) -> bool:
        command = f"nc -w {timeout} {ADDRESSES[target]} 80"
        return "served" in self.host.docker("exec", self.ids[source], "sh", "-c", command, check=False)

    def open_pairs(self) -> set[str]:
        return {
            f"{one}>{other}" for one in ADDRESSES for other in ADDRESSES if one != other and self.reaches(one, other)
        }


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with lonely_host() as host, ManagerProcess(host) as manager:
        yield Scene(host, manager)


@pytest.mark.parametrize(
    ("policy", "action", "open_pairs"),
    [
        (None, "allow", OPEN),
        (None, "deny", set()),
        ([{"within": "stack", "action": "allow"}], "deny", {"web>db", "db>web"}),
        ([{"within": "linked", "action": "allow"}], "deny", {"web>db"}),
        ([{"between": {"groupBy": "tier"}, "action": "allow"}], "deny", {"web>posts", "posts>web"}),
        (
            [{"from": {"selector": "tier=front"}, "to": {"selector": "tier=back"}, "ports": ["80"], "action": "allow"}],
            "deny",
            {"web>db", "posts>db"},
        ),
        (
            [{"from": {"selector": "tier=front"}, "to": {"selector": "tier=back"}, "ports": ["81"], "action": "allow"}],
            "deny",
            set(),
        ),
        (
            [{"from": {"selector": "tier=front"}, "to": {"selector": "tier=back"}, "action": "deny"}],
            "allow",
            OPEN - {"web>db", "posts>db"},
        ),
    ],
    ids=["allow", "deny", "stack", "linked", "group", "ports", "other-ports", "one-way"],
)
def test_who_reaches_whom(scene: Scene, policy: list[dict[str, Any]] | None, action: str, open_pairs: set[str]):
    scene.apply(policy, action)
    eventually(lambda: scene.open_pairs() == open_pairs, what=f"{open_pairs}: {scene.manager.log()}")


def test_an_invalid_policy_keeps_the_last_one(scene: Scene):
    scene.apply([{"within": "stack", "action": "allow"}], "deny")
    eventually(lambda: scene.open_pairs() == {"web>db", "db>web"})
    before = scene.host.rules("CATTLE_NETWORK_POLICY")
    scene.apply([{"within": "galaxy", "action": "allow"}], "allow")
    eventually(lambda: any("network.policy.invalid" in line for line in scene.manager.lines))
    assert scene.host.rules("CATTLE_NETWORK_POLICY") == before


def test_sets_that_are_no_longer_used_are_destroyed(scene: Scene):
    scene.apply([{"within": "stack", "action": "allow"}], "deny")
    eventually(lambda: "RNCH-U" in scene.host.run("ipset", "list", "-name"))
    scene.apply(None, "allow")
    eventually(lambda: scene.host.run("ipset", "list", "-name").split() == ["RANCHER_DISABLE_HOST_NAT_IPSET"])
    assert scene.open_pairs() == OPEN


def test_rules_stay_when_the_manager_stops(scene: Scene):
    scene.apply(None, "deny")
    eventually(lambda: scene.open_pairs() == set())
    scene.manager.stop()
    assert scene.open_pairs() == set()
