"""What this host is to check."""

from __future__ import annotations

from typing import Any

import pytest

from drover.client.world import Change, HealthCheck, Key, Membership, Object, Service, World
from drover.host.health.checklist import Checklist, Differences, peers_of, target_of
from tests.host.health.worlds import CHECK, container, full, world


def test_a_target_with_everything_said() -> None:
    target = target_of(world(), container())

    assert target is not None
    assert target.key == "host-1_c1_1"
    assert (target.address, target.port) == ("10.42.0.9", 80)
    assert (target.interval, target.connect_timeout, target.read_timeout) == (2.0, 2.0, 1.0)
    assert (target.rise, target.fall) == (2, 3)


def test_what_is_not_said_is_haproxys_default() -> None:
    target = target_of(world(), container(health_check=HealthCheck(port=80)))

    assert target is not None
    assert (target.interval, target.connect_timeout, target.read_timeout) == (2.0, 2.0, 2.0)
    assert (target.rise, target.fall, target.request_line) == (None, None, None)


def test_a_connection_never_takes_longer_than_five_seconds() -> None:
    target = target_of(world(), container(health_check=HealthCheck(port=80, interval=60_000)))

    assert target is not None
    assert (target.connect_timeout, target.read_timeout) == (5.0, 5.0)


@pytest.mark.parametrize(
    "values",
    [
        {"state": "stopped"},
        {"health_check_hosts": ("host-2",)},
        {"primary_ip": None},
        {"health_check": None},
        {"health_check": HealthCheck(port=0)},
    ],
)
def test_what_is_not_checked(values: dict[str, Any]) -> None:
    assert target_of(world(), container(**values)) is None


def test_the_check_of_the_service_holds_for_its_containers() -> None:
    service = Service(uuid="s1", name="Web", health_check=CHECK)
    member = container(health_check=None, memberships=(Membership(service_uuid="s1", service_name="Web"),))

    target = target_of(world(service), member)

    assert target is not None
    assert target.port == 80


def test_a_container_on_anothers_network_is_checked_there() -> None:
    other = container("other", primary_ip="10.42.0.77", health_check=None)

    target = target_of(world(other), container(primary_ip=None, network_from_container_uuid="other"))

    assert target is not None
    assert target.address == "10.42.0.77"


def test_a_container_on_the_hosts_network_is_checked_from_its_own_host_alone() -> None:
    target = target_of(world(), container(primary_ip=None, network_uuid="net-host"))
    assert target is not None
    assert target.address == "192.0.2.1"

    assert target_of(world(), container(primary_ip=None, network_uuid="net-host", host_uuid="host-2")) is None


def test_peers_are_the_checkers_of_other_hosts() -> None:
    own = {"system": True, "health_check": HealthCheck(port=42)}
    found = world(
        container("here", primary_ip="10.42.0.1", **own),
        container("there", primary_ip="10.42.0.2", host_uuid="host-2", **own),
        container("stopped", primary_ip="10.42.0.3", host_uuid="host-3", **{**own, "state": "stopped"}),
        container("other", primary_ip="10.42.0.4", host_uuid="host-2"),
    )

    assert peers_of(found) == ["10.42.0.2"]


class Followed:
    """A checklist that is kept current."""

    def __init__(self, *objects: Object) -> None:
        self.world = World()
        self.list = Checklist(self.world)
        self.list.follow(self.world.apply(full(*objects)))

    def change(self, *changed: Object, gone: tuple[Key, ...] = ()) -> Differences:
        revision = self.world.revision
        frame = Change(epoch="e", since=revision, revision=revision + 1, changed=changed, gone=gone)
        return self.list.follow(self.world.apply(frame))


def test_an_unrelated_change_touches_nothing() -> None:
    followed = Followed(container())

    found = followed.change(container("c2", health_check=None), Service(uuid="s", name="x"))

    assert found == Differences((), (), ())
    assert list(followed.list.targets) == ["host-1_c1_1"]


def test_another_start_is_another_check() -> None:
    followed = Followed(container())

    found = followed.change(container(start_count=2))

    assert [each.key for each in found.added] == ["host-1_c1_2"]
    assert found.removed == ("host-1_c1_1",)


def test_another_address_is_the_same_check() -> None:
    followed = Followed(container())

    found = followed.change(container(primary_ip="10.42.0.10"))

    assert [each.address for each in found.changed] == ["10.42.0.10"]
    assert not found.added
    assert not found.removed


def test_a_container_that_is_gone_is_no_longer_checked() -> None:
    followed = Followed(container())

    assert followed.change(gone=(Key("container", "c1"),)).removed == ("host-1_c1_1",)
    assert followed.list.targets == {}


def test_whoever_shares_a_network_follows_its_owner() -> None:
    owner = container("owner", primary_ip="10.42.0.5", health_check=None)
    followed = Followed(owner, container(primary_ip=None, network_from_container_uuid="owner"))

    found = followed.change(container("owner", primary_ip="10.42.0.6", health_check=None))

    assert [each.address for each in found.changed] == ["10.42.0.6"]


def test_a_service_that_gets_a_check_has_its_containers_checked() -> None:
    member = container(health_check=None, memberships=(Membership(service_uuid="s1", service_name="web"),))
    followed = Followed(member, Service(uuid="s1", name="web"))
    assert followed.list.targets == {}

    found = followed.change(Service(uuid="s1", name="web", health_check=CHECK))

    assert [each.key for each in found.added] == ["host-1_c1_1"]
