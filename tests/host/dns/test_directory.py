"""Records from a world, change by change."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from drover.client.world import Container, Environment, HealthCheck, Host, Key, Object, Service, Stack
from drover.host.dns.directory import Directory
from drover.host.dns.view import Shared
from tests.host.dns.worlds import HERE, OWN, Names, base, case_objects, container, names_of, service

ZONE = "rancher.internal."


def test_names_are_lower_case() -> None:
    web = service("Web", "Shop")
    names = names_of(web, container("Shop-Web-1", "10.42.0.1", web))
    assert names.addresses(f"web.shop.{ZONE}") == names.addresses(f"shop-web-1.{ZONE}") == ["10.42.0.1"]


def test_healthy_ones_alone_answer() -> None:
    web = service("web", health_check=HealthCheck(port=80))
    first, second = (container(f"w{n}", f"10.42.0.{n}", web, health_state="healthy", create_index=n) for n in (1, 2))
    names = names_of(web, first, second)
    name = f"web.shop.{ZONE}"
    assert names.addresses(name) == ["10.42.0.1", "10.42.0.2"]
    assert names.change(msgspec.structs.replace(second, health_state="unhealthy"))
    assert names.addresses(name) == ["10.42.0.1"]
    assert names.change(msgspec.structs.replace(first, health_state="unhealthy"))
    assert names.addresses(name) == ["10.42.0.2"], "the last one stands in when none is healthy"
    assert not names.change(msgspec.structs.replace(first, health_state="initializing")), "nothing that anybody sees"
    names.change(msgspec.structs.replace(first, health_state="updating-healthy"))
    assert names.addresses(name) == ["10.42.0.1"]
    assert names.change(gone=(Key("container", first.uuid), Key("container", second.uuid)))
    assert name not in names.shared.records


def test_a_service_may_rather_have_no_address_than_an_unhealthy_one() -> None:
    web = service("web", labels={"io.drover.dns.healthy_only": "true"})
    front = service("front", links={"shop/web": "backend"})
    one = container("w1", "10.42.0.1", web, health_state="unhealthy")
    names = names_of(web, front, one, container("f1", "10.42.0.9", front))
    assert names.addresses(f"web.shop.{ZONE}") == []
    assert names.shared.clients["10.42.0.9"].records == {}
    names.change(msgspec.structs.replace(one, health_state="healthy"))
    assert names.addresses(f"web.shop.{ZONE}") == ["10.42.0.1"]
    assert names.shared.clients["10.42.0.9"].records[f"backend.{ZONE}"].texts_of_addresses == ["10.42.0.1"]


@pytest.mark.parametrize(
    ("state", "health", "port", "healthy"),
    [
        ("running", None, None, True),
        ("starting", None, None, True),
        ("running", None, 80, False),
        ("running", "healthy", 80, True),
        ("starting", "updating-healthy", 80, True),
        ("stopped", "healthy", 80, False),
        ("running", "unhealthy", None, False),
        ("running", "reinitializing", 80, False),
    ],
)
def test_health(state: str, health: str | None, port: int | None, healthy: bool) -> None:
    web = service("web", health_check=HealthCheck(port=port) if port else None)
    one = container("w1", "10.42.0.1", web, state=state, health_state=health)
    good = container("w2", "10.42.0.2", web, health_state="healthy")
    names = names_of(web, one, good)
    assert ("10.42.0.1" in names.addresses(f"web.shop.{ZONE}")) is healthy


def test_no_address_no_record() -> None:
    web = service("web")
    names = names_of(web, container("w1", None, web), container("w2", "", web), container("w3", "fe80::1", web))
    assert set(names.shared.records) == {f"rancher-metadata.{ZONE}"}


def test_a_shared_network_shares_the_address() -> None:
    web = service("web")
    side = service("data", primary_service_name="web", uuid=web.uuid)
    main = container("w1", "10.42.0.1", web)
    guest = container("d1", None, side, network_from_container_uuid=main.uuid)
    names = names_of(web, side, main, guest)
    assert names.addresses(f"data.web.shop.{ZONE}") == names.addresses(f"d1.{ZONE}") == ["10.42.0.1"]
    names.change(msgspec.structs.replace(main, primary_ip="10.42.0.5"))
    assert names.addresses(f"data.web.shop.{ZONE}") == names.addresses(f"d1.{ZONE}") == ["10.42.0.5"]


def test_container_names_are_unique_or_the_last_wins() -> None:
    older = container("twin", "10.42.0.1", uuid="a", create_index=1)
    younger = container("twin", "10.42.0.2", uuid="b", create_index=2)
    names = names_of(younger, older)
    assert names.addresses(f"twin.{ZONE}") == ["10.42.0.2"]
    names.change(gone=(Key("container", "b"),))
    assert names.addresses(f"twin.{ZONE}") == ["10.42.0.1"]


def test_alias_services_follow_what_they_lead_to() -> None:
    web, db = service("web"), service("db")
    inner = service("inner", kind="dnsService", links={"shop/web": ""})
    outer = service("outer", kind="dnsService", links={"shop/inner": "", "shop/db": "", "shop/outer": ""})
    names = names_of(outer, inner, web, db, container("d1", "10.42.0.9", db))
    assert names.addresses(f"outer.shop.{ZONE}") == ["10.42.0.9"]
    names.change(container("w1", "10.42.0.1", web))
    assert sorted(names.addresses(f"outer.shop.{ZONE}")) == ["10.42.0.1", "10.42.0.9"]
    names.change(gone=(Key("service", web.key),))
    assert names.addresses(f"outer.shop.{ZONE}") == ["10.42.0.9"]


def test_alias_services_in_a_circle_end() -> None:
    one = service("one", kind="dnsService", links={"shop/two": ""})
    two = service("two", kind="dnsService", links={"shop/one": "", "shop/web": ""})
    web = service("web")
    names = names_of(one, two, web, container("w1", "10.42.0.1", web))
    assert names.addresses(f"one.shop.{ZONE}") == names.addresses(f"two.shop.{ZONE}") == ["10.42.0.1"]


def test_an_alias_may_mix_machines_and_containers() -> None:
    web = service("web")
    outside = service("outside", kind="externalService", hostname="api.example.net")
    both = service("both", kind="dnsService", links={"shop/web": "", "shop/outside": ""})
    names = names_of(web, outside, both, container("w1", "10.42.0.1", web))
    answer = names.shared.records[f"both.shop.{ZONE}"]
    assert (answer.alias, answer.texts_of_addresses) == ("api.example.net.", ["10.42.0.1"])


def test_a_machine_with_an_impossible_name_has_no_record() -> None:
    names = names_of(service("outside", kind="externalService", hostname="a..b"))
    assert f"outside.shop.{ZONE}" not in names.shared.records


class TestClients:
    def test_only_own_containers_have_views(self) -> None:
        names = names_of(container("here", "10.42.0.1"), container("there", "10.42.0.2", host_uuid="host-2"))
        assert set(names.shared.clients) == {"10.42.0.1"}

    def test_containers_of_a_service_share_a_view(self) -> None:
        web = service("web", links={"shop/db": "database"})
        members = [container(f"w{n}", f"10.42.0.{n}", web) for n in range(1, 6)]
        names = names_of(web, *members)
        assert len(set(names.shared.clients.values())) == 1
        names.change(gone=tuple(Key("container", each.uuid) for each in members))
        assert names.shared.clients == {}
        assert names.shared.views == {names.shared.default}

    def test_name_servers_and_search_of_the_container(self) -> None:
        dns = (
            "169.254.169.250",
            "10.0.0.53",
            "127.0.0.11",
            "172.16.0.1",
            "",
            "localhost",
            "0.0.0.0",
            "::1",
            "10.0.0.53",
        )
        names = names_of(container("one", "10.42.0.1", dns=dns, dns_search=("Corp.Example.", "", "rancher.internal")))
        view = names.shared.clients["10.42.0.1"]
        assert view.upstreams == ("10.0.0.53",), "neither itself nor the host, whose address is excluded here"
        assert view.search == ("corp.example.", ZONE)

    def test_links_follow_their_targets(self) -> None:
        web, db = service("web", links={"shop/db": "database", "shop/later": ""}), service("db")
        names = names_of(web, db, container("w1", "10.42.0.1", web))
        view = names.shared.clients["10.42.0.1"]
        assert view.records == {}
        names.change(container("d1", "10.42.0.2", db, host_uuid="host-2"))
        assert set(view.records) == {f"database.{ZONE}", f"database.shop.{ZONE}"}
        later = service("later", kind="externalService", external_ips=("192.0.2.1",))
        names.change(later)
        assert view.records[f"later.{ZONE}"].texts_of_addresses == ["192.0.2.1"]
        names.change(gone=(Key("service", later.key),))
        assert f"later.{ZONE}" not in view.records

    def test_a_changed_link_changes_the_view(self) -> None:
        web, db = service("web", links={"shop/db": "one"}), service("db")
        names = names_of(web, db, container("w1", "10.42.0.1", web), container("d1", "10.42.0.2", db))
        names.change(msgspec.structs.replace(web, links={"shop/db": "two"}))
        assert set(names.shared.clients["10.42.0.1"].records) == {f"two.{ZONE}", f"two.shop.{ZONE}"}

    def test_service_links_override_container_links(self) -> None:
        web, db = service("web", links={"shop/db": "store"}), service("db")
        one = container("one", "10.42.0.7")
        names = names_of(
            web, db, one, container("d1", "10.42.0.2", db), container("w1", "10.42.0.1", web, links={"store": one.uuid})
        )
        assert names.shared.clients["10.42.0.1"].records[f"store.{ZONE}"].texts_of_addresses == ["10.42.0.2"]

    def test_of_containers_with_one_address_a_running_one_counts(self) -> None:
        old = container("old", "10.42.0.1", state="stopped", create_index=9, dns_search=("old.example",))
        new = container("new", "10.42.0.1", create_index=3, dns_search=("new.example",))
        names = names_of(old, new)
        assert names.shared.clients["10.42.0.1"].search == ("new.example.",)

    def test_a_container_that_moved_to_another_address(self) -> None:
        one = container("one", "10.42.0.1")
        names = names_of(one)
        names.change(msgspec.structs.replace(one, primary_ip="10.42.0.2"))
        assert set(names.shared.clients) == {"10.42.0.2"}


class TestOtherEnvironments:
    def objects(self) -> list[Object]:
        api = service("api", "far", uuid="far-api", environment_uuid="env-2", health_check=HealthCheck(port=80))
        return [
            Stack(uuid="stack-far", name="far", environment_uuid="env-2", environment_name="Production"),
            api,
            container("a1", "10.43.0.1", api, environment_uuid="env-2", host_uuid="host-9", health_state="healthy"),
            container("a2", "10.43.0.2", api, environment_uuid="env-2", host_uuid="host-9", health_state="unhealthy"),
        ]

    @pytest.mark.parametrize("key", ["production/far/api", "Production/far/api", "region/Production/far/api"])
    def test_links_reach_them_whatever_their_health(self, key: str) -> None:
        web = service("web", links={key: "remote"})
        names = names_of(web, container("w1", "10.42.0.1", web), *self.objects())
        records = names.shared.clients["10.42.0.1"].records
        assert set(records) == {"remote.", f"remote.{ZONE}"}
        assert records["remote."].texts_of_addresses == ["10.43.0.1", "10.43.0.2"]

    def test_their_names_are_not_ours(self) -> None:
        names = names_of(*self.objects())
        assert set(names.shared.records) == {f"rancher-metadata.{ZONE}"}

    def test_a_link_may_name_the_own_environment(self) -> None:
        web, db = service("web", links={"default/shop/db": "store"}), service("db")
        names = names_of(web, db, container("w1", "10.42.0.1", web), container("d1", "10.42.0.2", db))
        assert names.shared.clients["10.42.0.1"].records["store."].texts_of_addresses == ["10.42.0.2"]


def test_agent_ip_stands_for_this_host() -> None:
    names = names_of()
    directory = Directory(names.world, shared := Shared(), metadata_answer=("agent_ip",))
    directory.apply(names.full(*base(), host="host-2"))
    assert shared.records[f"rancher-metadata.{ZONE}"].texts_of_addresses == ["172.16.0.2"]


def test_a_full_frame_takes_out_what_is_gone() -> None:
    names = names_of(*case_objects())
    names.full(*base(), container("one", "10.42.0.1"))
    assert set(names.shared.records) == {f"rancher-metadata.{ZONE}", f"one.{ZONE}"}
    assert set(names.shared.clients) == {"10.42.0.1"}
    names.world.epoch = "restarted"
    names.full(Environment(uuid="env-9", name="x"), Host(uuid=HERE, environment_uuid="env-9"))
    assert set(names.shared.records) == {f"rancher-metadata.{ZONE}"}
    assert names.shared.clients == {}


def test_following_changes_ends_where_starting_anew_does() -> None:
    """Random changes, one at a time; after each the records are those that a fresh start would find."""
    draw = random.Random(7)
    names = names_of(*case_objects())
    for _ in range(150):
        _change_something(names, draw)
        fresh = Shared()
        anew = Directory(names.world, fresh, metadata_answer=("169.254.169.250",))
        anew._rebuild()
        assert names.shared.records == fresh.records
        assert {a: (v.records, v.search) for a, v in names.shared.clients.items()} == {
            a: (v.records, v.search) for a, v in fresh.clients.items()
        }
        assert names.shared.views == {names.shared.default, *names.shared.clients.values()}


def _change_something(names: Names, draw: random.Random) -> None:
    services: list[Service] = [each for each in names.world.services.values() if each.environment_uuid == OWN]
    containers: list[Container] = list(names.world.containers.values())
    what = draw.randrange(6)
    if what == 0 and len(services) > 4:
        names.change(gone=(Key("service", draw.choice(services).key),))
    elif what == 1:
        links: dict[str, Any] = {
            f"{each.stack_name}/{each.name}": draw.choice(["x", ""]) for each in draw.sample(services, 2)
        }
        names.change(msgspec.structs.replace(draw.choice(services), links=links))
    elif what == 2:
        made = draw.choice(["service", "dnsService", "externalService"])
        names.change(service(f"s{draw.randrange(5)}", kind=made, external_ips=("192.0.2.9",), links={"shop/web": ""}))
    elif what == 3 and len(containers) > 4:
        names.change(gone=(Key("container", draw.choice(containers).uuid),))
    elif what == 4 and containers:
        state, health = draw.choice(["running", "stopped"]), draw.choice([None, "healthy", "unhealthy"])
        names.change(msgspec.structs.replace(draw.choice(containers), state=state, health_state=health))
    else:
        number = draw.randrange(1, 30)
        shares = draw.choice(containers).uuid if containers and draw.random() < 0.3 else None
        address = None if shares else f"10.42.9.{number}"
        where = draw.choice([HERE, "host-2"])
        member = draw.sample(services, 1)
        names.change(container(f"n{number}", address, *member, network_from_container_uuid=shares, host_uuid=where))
