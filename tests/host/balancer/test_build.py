"""The model of a balancer: what Rancher 1.6 served for these rules, and where its behaviour was undefined or wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drover.client.world import Container, LbConfig, LbRule, Membership
from drover.host.balancer.build import (
    Built,
    NotABalancer,
    build,
    withhold_starting,
)
from drover.host.balancer.model import Check, HostMatch, Model, Protocol, Sticky, server_name
from drover.host.balancer.rules import BadRule
from tests.host.balancer.worlds import OWN, HealthCheck, Stickiness, Town, rule, town

DATA = json.loads((Path(__file__).parent / "data" / "rule_cases.json").read_text())


def built(place: Town, **more: Any) -> Built:
    world = place.world()
    return build(world, world.containers[OWN], **more)


def shown(model: Model) -> list[dict[str, Any]]:
    """A model in the words of the data file."""
    frontends = []
    for frontend in sorted(model.frontends, key=lambda each: each.port):
        groups = []
        for route in frontend.routes:
            backend = model.backend(route.backend)
            assert backend is not None
            groups.append(
                {
                    "backend": route.backend,
                    "host_match": route.host_match.value if route.host_match else None,
                    "host": route.host or None,
                    "path": route.path or None,
                    "servers": [f"{each.address}:{each.port} weight {each.weight}" for each in backend.servers],
                }
            )
        frontends.append({"port": frontend.port, "protocol": frontend.protocol.value, "groups": groups})
    return frontends


@pytest.mark.parametrize("case", DATA["cases"], ids=lambda case: case["name"])
def test_rules(case: dict[str, Any]) -> None:
    place = town(DATA["services"])
    place.labels = {"io.rancher.lb_service.target": case["local_preference"]}
    place.balance(*(LbRule(**each) for each in case["rules"]))

    result = built(place)

    assert shown(result.model) == case["frontends"]
    assert not result.problems


def test_server_names() -> None:
    names = {server.address: server.name for case in DATA["cases"] for server in _servers(case)}
    assert names == DATA["server_names"]


def _servers(case: dict[str, Any]) -> list[Any]:
    place = town(DATA["services"])
    place.balance(*(LbRule(**each) for each in case["rules"]))
    return [server for backend in built(place).model.backends for server in backend.servers]


def test_a_wildcard_and_its_domain_have_backends_of_their_own() -> None:
    place = Town()
    place.service("shop/web", ["10.0.0.1"])
    place.service("shop/api", ["10.0.0.2"])
    place.balance(
        rule(80, "shop/api", hostname="*.example.com"),
        rule(80, "shop/web", hostname="example.com"),
    )

    model = built(place).model

    served = {route.host: model.backend(route.backend) for route in model.frontends[0].routes}
    assert {host: [each.address for each in backend.servers] for host, backend in served.items() if backend} == {
        "example.com": ["10.0.0.1"],
        ".example.com": ["10.0.0.2"],
    }
    assert served["example.com"] != served[".example.com"]


def test_names_that_would_be_equal_are_made_different() -> None:
    place = Town()
    place.service("shop/web", ["10.0.0.1"])
    place.balance(*(rule(80, "shop/web", port, path=path) for port, path in ((1, "/a-b"), (2, "/a_b"), (3, "/a/b"))))
    backends = built(place).model.backends
    assert len({backend.name for backend in backends}) == 3
    assert sorted(server.port for backend in backends for server in backend.servers) == [1, 2, 3]


def test_one_name_given_twice_is_one_backend() -> None:
    place = Town()
    place.service("shop/web", ["10.0.0.1"])
    place.service("shop/api", ["10.0.0.2"])
    place.balance(
        rule(80, "shop/web", hostname="a.example.com", backend_name="pool"),
        rule(81, "shop/api", hostname="b.example.com", backend_name="pool"),
    )
    model = built(place).model
    assert [route.backend for frontend in model.frontends for route in frontend.routes] == ["pool", "pool"]
    assert [server.address for server in model.backends[0].servers] == ["10.0.0.2"]  # frontends by descending name


def test_a_given_name_is_not_shared_by_accident() -> None:
    place = Town()
    place.service("shop/web", ["10.0.0.1"])
    place.balance(rule(80, "shop/web", 1), rule(81, "shop/web", 2, backend_name="80_"))
    assert len(built(place).model.backends) == 2


@pytest.mark.parametrize(
    ("locality", "expected"),
    [
        ("prefer-local", ["10.0.0.1"]),
        ("only-local", ["10.0.0.1"]),
        ("any", ["10.0.0.2", "10.0.0.1"]),
    ],
)
def test_locality(locality: str, expected: list[str]) -> None:
    place = Town(labels={"io.rancher.lb_service.target": locality})
    place.service("shop/web", [("10.0.0.1", "running", "h1"), ("10.0.0.2", "running", "h2")])
    place.balance(rule(80, "shop/web"))
    assert [server.address for server in built(place).model.backends[0].servers] == expected


def test_locality_without_a_local_container() -> None:
    place = Town(labels={"io.rancher.lb_service.target": "prefer-local"}, host="h3")
    place.service("shop/web", [("10.0.0.2", "running", "h2")])
    place.balance(rule(80, "shop/web"))
    assert len(built(place).model.backends[0].servers) == 1
    place.labels = {"io.rancher.lb_service.target": "only-local"}
    assert built(place).model.backends[0].servers == ()


def test_an_unknown_locality_is_refused() -> None:
    place = Town(labels={"io.rancher.lb_service.target": "nearby"})
    place.balance(rule(80, "shop/web"))
    with pytest.raises(BadRule, match="only-local"):
        built(place)


def test_aliases_in_a_circle_end() -> None:
    place = Town()
    place.service("shop/web", ["10.0.0.1"])
    place.service("shop/a", kind="dnsService", links={"shop/b": "", "shop/web": ""})
    place.service("shop/b", kind="dnsService", links={"shop/a": "", "shop/gone": ""})
    place.balance(rule(80, "shop/a"))
    assert [server.address for server in built(place).model.backends[0].servers] == ["10.0.0.1"]


def test_a_container_in_the_network_of_another_has_that_ones_address() -> None:
    place = Town()
    place.service("shop/web", ["10.0.0.1"])
    place.service("shop/side")
    place.extra = [
        Container(
            uuid="side",
            state="running",
            host_uuid="h1",
            network_from_container_uuid="c-shop/web-10.0.0.1",
            memberships=(Membership("s-shop/side", "side"),),
        )
    ]
    place.balance(rule(80, "shop/side"))
    assert [server.address for server in built(place).model.backends[0].servers] == ["10.0.0.1"]


def test_a_missing_service_is_left_out_and_named() -> None:
    place = Town()
    place.service("shop/web", ["10.0.0.1"])
    place.balance(rule(80, "shop/gone"), rule(81, "shop/web"))
    result = built(place)
    assert [frontend.port for frontend in result.model.frontends] == [81]
    assert len(result.problems) == 1
    assert "shop/gone" in result.problems[0]


@pytest.mark.parametrize(
    "more",
    [
        {"hostname": "a b.example.com"},
        {"hostname": "a\nuse_backend evil"},
        {"path": "/a b"},
        {"path": "/a\n  use_backend evil"},
        {"protocol": "gopher"},
    ],
)
def test_text_that_would_leave_its_place_is_refused(more: dict[str, Any]) -> None:
    place = Town()
    place.service("shop/web", ["10.0.0.1"])
    place.balance(rule(80, "shop/web", **more))
    result = built(place)
    assert result.model.frontends == ()
    assert len(result.problems) == 1


def test_a_drained_server_gets_nothing_new() -> None:
    place = Town()
    place.service("shop/web", ["10.0.0.1", "10.0.0.2"])
    place.balance(rule(80, "shop/web", weight=7))
    servers = built(place, draining={server_name("10.0.0.1")}).model.backends[0].servers
    assert {server.address: server.weight for server in servers} == {"10.0.0.1": 0, "10.0.0.2": 7}


def test_the_last_server_that_stops_keeps_its_weight() -> None:
    place = Town()
    place.service("shop/web", [("10.0.0.1", "stopping", "h1")])
    place.balance(rule(80, "shop/web", weight=7))
    assert built(place).model.backends[0].servers[0].weight == 7


def test_a_weight_of_zero_is_kept() -> None:
    place = Town()
    place.service("shop/web", ["10.0.0.1"])
    place.balance(rule(80, "shop/web", weight=0))
    assert built(place).model.backends[0].servers[0].weight == 0


def test_a_starting_server_waits_while_another_serves() -> None:
    place = Town()
    place.service("shop/web", ["10.0.0.1", ("10.0.0.2", "starting", "h1")])
    place.service("shop/api", [("10.0.0.3", "starting", "h1")])
    place.balance(rule(80, "shop/web"), rule(81, "shop/api"))
    model = withhold_starting(built(place).model)
    assert {backend.name: [each.address for each in backend.servers] for backend in model.backends} == {
        "80_": ["10.0.0.1"],
        "81_": ["10.0.0.3"],
    }


def test_check_and_stickiness() -> None:
    place = Town()
    place.service("shop/web", ["10.0.0.1"], health_check=HealthCheck(port=8080, interval=2000, healthy_threshold=0))
    place.service("shop/api", ["10.0.0.2"])
    place.balance(
        rule(80, "shop/web"),
        rule(80, "shop/api"),
        rule(25, "shop/api", protocol="tcp"),
        stickiness_policy=Stickiness(mode="insert", indirect=True),
    )
    model = built(place).model
    assert [(each.name, each.check, each.sticky) for each in model.backends] == [
        ("80_", Check(port=8080, interval=2000), Sticky(mode="insert", indirect=True)),
        ("25_", None, None),
    ]


def test_sni_routes_by_host_and_udp_is_left_out() -> None:
    place = Town()
    place.service("shop/web", ["10.0.0.1"])
    place.balance(
        rule(443, "shop/web", protocol="sni", hostname="*.example.com", path="/x"), rule(53, "shop/web", protocol="udp")
    )
    result = built(place)
    (frontend,) = result.model.frontends
    assert frontend.protocol is Protocol.SNI
    assert [(each.host_match, each.host, each.path) for each in frontend.routes] == [
        (HostMatch.SUFFIX, ".example.com", "")
    ]
    assert result.problems == ("port 53: udp cannot be balanced",)


def test_a_selected_balancer_is_reached_at_its_own_port() -> None:
    place = Town()
    place.service(
        "shop/inner",
        ["10.0.0.1"],
        kind="loadBalancerService",
        labels={"front": "yes"},
        lb_config=LbConfig(port_rules=(rule(8080, "shop/web", 1, hostname="x.example.com", path="/p"),)),
    )
    place.balance(rule(80, selector="front=yes", target_port=None, priority=3))
    (route,) = built(place).model.frontends[0].routes
    assert (route.host, route.path) == ("x.example.com", "/p")
    assert built(place).model.backends[0].servers[0].port == 8080

    place.labels = {"io.rancher.lb_service.skip_target_lb_rules": "true"}
    (route,) = built(place).model.frontends[0].routes
    assert (route.host_match, route.path) == (None, "")


def test_a_container_of_another_service_is_no_balancer() -> None:
    place = Town()
    place.service("shop/web", ["10.0.0.1"])
    world = place.world()
    with pytest.raises(NotABalancer):
        build(world, world.containers["c-shop/web-10.0.0.1"])
