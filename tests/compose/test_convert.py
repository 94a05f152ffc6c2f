"""Services as API bodies: kinds, sidekicks, links, builds, order."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drover.compose import (
    BuiltImage,
    ComposeError,
    Kind,
    SecretRef,
    ServiceRef,
    SettingRef,
    local_builds,
    plan_services,
    references,
    resolve,
    volume_bodies,
    waves,
)
from drover.compose.convert import Link
from drover.compose.order import _without_circles, dependencies


@pytest.mark.parametrize(
    ("keys", "kind", "collection"),
    [
        ("image: nginx", Kind.SERVICE, "services"),
        ("image: rancher/external-service, external_ips: [1.1.1.1]", Kind.EXTERNAL, "externalServices"),
        ("external_ips: [1.1.1.1]", Kind.EXTERNAL, "externalServices"),
        ("image: rancher/external-service, hostname: x.test", Kind.EXTERNAL, "externalServices"),
        ("image: rancher/load-balancer-service, ports: [80]", Kind.BALANCER, "loadBalancerServices"),
        ("image: lb, lb_config: {port_rules: [{source_port: 80}]}", Kind.BALANCER, "loadBalancerServices"),
        ("image: lb, lb_config: {port_rules: [{target_port: 80}]}", Kind.SERVICE, "services"),
        ("image: rancher/dns-service", Kind.DNS, "dnsServices"),
        ("image: a, network_driver: {name: n}", Kind.NETWORK_DRIVER, "networkDriverServices"),
        ("image: a, storage_driver: {name: n}", Kind.STORAGE_DRIVER, "storageDriverServices"),
        ("labels: {io.rancher.service.selector.container: a=b}", Kind.SERVICE, "services"),
    ],
)
def test_kinds(keys: str, kind: Kind, collection: str, load: Callable) -> None:
    plan = plan_services(load(f"web: {{{keys}}}"))[0]
    assert plan.kind is kind
    assert plan.kind.collection == collection
    assert plan.body["launchConfig"]["imageUuid"]


def test_missing_images_of_special_kinds(load: Callable) -> None:
    def image(keys: str) -> object:
        return plan_services(load(f"web: {{{keys}}}"))[0].body["launchConfig"]["imageUuid"]

    assert image("external_ips: [1.1.1.1]") == "docker:rancher/external-service"
    assert image("labels: {io.rancher.service.selector.container: a=b}") == "docker:rancher/none"
    assert image("lb_config: {port_rules: [{source_port: 80}]}") == SettingRef("lb.instance.image", "docker:")


@pytest.mark.parametrize(
    ("image", "uuid"),
    [("a/b:1", "docker:a/b:1"), ("docker:a", "docker:a"), ("sim:a", "sim:a"), ("dockers:1", "docker:dockers:1")],
)
def test_image_names(image: str, uuid: str, body_of: Callable) -> None:
    assert body_of(f"web: {{image: '{image}'}}")["launchConfig"]["imageUuid"] == uuid


def test_external_service(body_of: Callable) -> None:
    body = body_of(
        "ext: {image: rancher/external-service}\n",
        "ext: {hostname: x.test, external_ips: [1.1.1.1], health_check: {port: 80}}\n",
    )
    assert (body["hostname"], body["externalIpAddresses"], body["healthCheck"]) == ("x.test", ["1.1.1.1"], {"port": 80})


def test_a_sidekick_brings_its_own_fields(load: Callable) -> None:
    project = load(
        """
version: '2'
services:
  web:
    image: a
    secrets: [mine]
    labels: {io.rancher.sidekicks: ' side ,other'}
    links: [db]
  side:
    image: b
    secrets: [{source: its, uid: 5}]
    ports: ['1.2.3.4:80:80']
    expose: ['90']
    network_mode: 'container:web'
    health_check: {port: 80, recreate_on_quorum_strategy_config: {quorum: '2'}}
    links: ['cache:c']
    scale: 5
    metadata: {ignored: true}
  other: {image: c}
  db: {image: d}
  cache: {image: e}
"""
    )
    plan = plan_services(project)[0]
    side = plan.body["secondaryLaunchConfigs"][0]
    assert plan.body["launchConfig"]["secrets"] == [{"secretId": SecretRef("mine"), "name": "mine"}]
    assert plan.body["launchConfig"]["labels"]["io.rancher.sidekicks"] == "side,other"
    assert side["secrets"] == [{"secretId": SecretRef("its"), "name": "its", "uid": "5"}]
    assert (side["ports"], side["expose"]) == (["1.2.3.4:80:80"], ["90"])
    assert (side["networkMode"], side["networkLaunchConfig"]) == ("container", "web")
    assert side["healthCheck"] == {"port": 80, "recreateOnQuorumStrategyConfig": {"quorum": 2}}
    assert "scale" not in side
    assert set(plan.body["metadata"]) == {"io.rancher.service.hash"}
    assert plan.links == (Link(name="db", target=ServiceRef("db")), Link(name="c", target=ServiceRef("cache")))
    assert [one.name for one in plan_services(project)] == ["web", "db", "cache"]


def test_links(load: Callable) -> None:
    project = load(
        """
web:
  image: a
  links: [db, 'db:sql', 'side:x']
  external_links: [api, 'other/db', 'other/db:two', 'shop/api:own', 'eu/other/db:far', 'eu/env/other/db']
  labels: {io.rancher.sidekicks: side}
side: {image: b}
db: {image: c}
api: {image: d}
"""
    )
    links = plan_services(project)[0].links
    assert {link.name: link.body() for link in links or ()} == {
        "db": {"name": "db", "service": "eu/env/other/db"},
        "sql": {"name": "sql", "serviceId": ServiceRef("db")},
        "api": {"name": "api", "serviceId": ServiceRef("api")},
        "two": {"name": "two", "serviceId": ServiceRef("db", "other")},
        "own": {"name": "own", "serviceId": ServiceRef("api")},
        "far": {"name": "far", "service": "eu/other/db"},
    }
    assert "links the sidekick 'side'" in str(project.warnings[0])


def test_selectors(load: Callable) -> None:
    plan = plan_services(
        load(
            "web: {image: a, labels: {io.rancher.service.selector.link: x=y, io.rancher.service.selector.container: z}}"
        )
    )[0]
    assert (plan.body["selectorLink"], plan.body["selectorContainer"]) == ("x=y", "z")
    assert plan.links is None
    assert plan.body["launchConfig"]["labels"]["io.rancher.service.selector.link"] == "x=y"


@pytest.mark.parametrize(("written", "scale"), [("0", 1), ("-3", 1), ("4", 4)])
def test_scale(written: str, scale: int, body_of: Callable) -> None:
    assert body_of(f"web: {{image: a, scale: {written}}}")["scale"] == scale


def test_values_that_mean_not_set_are_left_out(body_of: Callable) -> None:
    config = body_of("web: {image: a, tty: false, mem_swappiness: 0, dns: [], labels: {}, environment: {A: ''}}")[
        "launchConfig"
    ]
    assert set(config) == {"imageUuid", "networkMode", "labels", "environment"}
    assert config["environment"] == {"A": ""}


def test_remote_builds(load: Callable) -> None:
    project = load("version: '2'\nservices: {web: {build: {context: 'https://x.test/a.git#main:dir', dockerfile: D}}}")
    config = plan_services(project)[0].body["launchConfig"]
    assert config["build"] == {"remote": "https://x.test/a.git#main:dir", "dockerfile": "D"}
    assert config["imageUuid"].startswith("docker:shop_web_")
    assert plan_services(project)[0].body["launchConfig"]["imageUuid"] == config["imageUuid"]
    assert local_builds(project) == {}


def test_local_builds_are_prepared_by_the_caller(load: Callable, memory_files: Callable) -> None:
    project = load("web: {build: ., dockerfile: D}\n", source=memory_files({}))
    assert local_builds(project) == {"web": "/srv"}
    with pytest.raises(ComposeError, match="was not prepared"):
        plan_services(project)
    first = plan_services(project, builds={"web": BuiltImage(image="web-1", context_url="https://u/1?sig=a")})[0]
    second = plan_services(project, builds={"web": BuiltImage(image="web-1", context_url="https://u/1?sig=b")})[0]
    third = plan_services(project, builds={"web": BuiltImage(image="web-2", context_url="https://u/2")})[0]
    assert first.body["launchConfig"]["build"] == {"context": "https://u/1?sig=a", "dockerfile": "D"}
    assert first.body["launchConfig"]["imageUuid"] == "docker:web-1"
    label = "io.rancher.service.hash"
    hashes = [plan.body["launchConfig"]["labels"][label] for plan in (first, second, third)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_volume_templates(load: Callable) -> None:
    project = load(
        "version: '2'\nvolumes: {a: {driver: nfs, driver_opts: {x: 1}, per_container: true}, b: , "
        "c: {external: true}, d: {external: {name: other}}}\n"
    )
    assert volume_bodies(project) == (
        {"name": "a", "driver": "nfs", "driverOpts": {"x": "1"}, "perContainer": True},
        {"name": "b"},
        {"name": "c", "external": True},
        {"name": "other", "external": True},
    )


def test_references_are_found_and_resolved() -> None:
    body = {"a": [ServiceRef("web", "s"), {"b": SettingRef("image", "docker:")}], "c": "x"}
    assert list(references(body)) == [ServiceRef("web", "s"), SettingRef("image", "docker:")]
    assert resolve(body, str) == {"a": ["s/web", {"b": "docker:image"}], "c": "x"}
    assert resolve(SettingRef("image", "docker:"), lambda _: "docker:own") == "docker:own"


def test_order_follows_links_rules_and_depends_on(load: Callable) -> None:
    project = load(
        """
version: '2'
services:
  lb: {image: a, lb_config: {port_rules: [{source_port: 80, service: web}]}}
  web: {image: a, labels: {io.rancher.sidekicks: side}, links: [db]}
  side: {image: a, depends_on: [cache]}
  db: {image: a, depends_on: [init, missing]}
  cache: {image: a}
  init: {image: a, labels: {io.rancher.service.wait_for_healthcheck: 'x'}}
  late: {image: a, depends_on: {web: {condition: service_healthy}, db: }, external_links: [shop/cache]}
"""
    )
    required = dependencies(project)
    assert required["lb"] == ("web",)
    assert required["web"] == ("db", "cache")
    assert waves(required) == (("cache", "init"), ("db",), ("web",), ("lb", "late"))
    plans = {plan.name: plan for plan in plan_services(project)}
    assert plans["late"].wait_for == ("web",)
    assert set(plans["late"].depends_on) == {"web", "db", "cache"}
    assert plans["init"].wait_for_health
    assert "depends on 'missing' which is undefined" in str(project.warnings[0])


def test_circles_are_cut(load: Callable) -> None:
    project = load(
        "a: {image: x, links: [b]}\nb: {image: x, links: [c]}\nc: {image: x, links: [a, d]}\nd: {image: x}\n"
    )
    required = dependencies(project)
    assert required == {"a": ("b",), "b": ("c",), "c": ("d",), "d": ()}
    assert waves(required) == (("d",), ("c",), ("b",), ("a",))
    assert all(plan.links for plan in plan_services(project) if plan.name != "d")


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=4), min_size=6))
def test_any_graph_has_an_order(graph: dict[str, list[str]]) -> None:
    wanted = {name: tuple(target for target in targets if target != name) for name, targets in graph.items()}
    required = _without_circles(wanted)
    assert sorted(name for wave in waves(required) for name in wave) == sorted(graph)
    assert all(set(targets) <= set(wanted[name]) for name, targets in required.items())
