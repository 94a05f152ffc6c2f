"""A tree that followed any sequence of changes is the tree that would be made of the result."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck as Health
from hypothesis import given, settings
from hypothesis import strategies as st

from drover.client.world import Container, Environment, Full, Host, Membership, Network, Object, Service, Stack, World
from drover.host.metadata import tree as trees
from drover.host.metadata.fields import Version
from drover.host.metadata.nodes import to_json
from drover.host.metadata.publication import Publication
from drover.host.metadata.relations import Relations
from drover.host.metadata.tree import Tree
from tests.host.metadata.asking import Asker
from tests.host.metadata.shop import OBJECTS, SHOP, WEB, WEB_1

few = st.integers(0, 2)
names = st.sampled_from(["a", "B", "c"])
memberships = st.lists(
    st.builds(Membership, service_uuid=few.map("v{}".format), service_name=names), max_size=2, unique=True
).map(tuple)
containers = st.builds(
    Container,
    uuid=st.integers(0, 4).map("c{}".format),
    name=names,
    state=st.sampled_from(["running", "stopped"]),
    primary_ip=st.sampled_from(["10.42.0.1", "10.42.0.2", None]),
    host_uuid=few.map("h{}".format),
    create_index=few,
    memberships=memberships,
)
services = st.builds(
    Service,
    uuid=few.map("v{}".format),
    name=names,
    stack_uuid=few.map("s{}".format),
    stack_name=names,
    scale=few,
    token=st.sampled_from([None, "t"]),
)
stacks = st.builds(Stack, uuid=few.map("s{}".format), name=names)
hosts = st.builds(Host, uuid=few.map("h{}".format), name=names)
networks = st.builds(Network, uuid=few.map("n{}".format), name=names)
worlds = st.lists(st.one_of(containers, containers, services, services, stacks, hosts, networks), max_size=14).map(
    lambda found: tuple({(type(each), each.key): each for each in found}.values())
)


@settings(max_examples=150, deadline=None, suppress_health_check=[Health.too_slow])
@given(st.lists(worlds, min_size=2, max_size=5))
def test_any_sequence_of_changes(sequence: list[tuple[Object, ...]]) -> None:
    world = World()
    followed = Publication(world)
    for version in Version:
        followed.tree(version)
    for revision, objects in enumerate(sequence):
        frame = Full(epoch="e", revision=revision, objects=(Environment(uuid="env"), *objects), host="h0")
        followed.apply(world.apply(frame))
    fresh = Publication(world)
    assert followed.version == fresh.version
    for version in Version:
        for client in ("10.42.0.1", "10.42.0.2", "nobody"):
            assert _seen(followed.tree(version), client) == _seen(fresh.tree(version), client)


def _seen(tree: Tree, client: str) -> bytes:
    return to_json({**tree.shared("v"), "self": tree.self_of(client)})


def test_a_change_of_one_container_renders_that_container_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []

    def counted(container: Container, place: object, version: Version) -> dict[str, object]:
        rendered.append(container.uuid)
        return {"name": container.name, "state": container.state}

    monkeypatch.setattr(trees, "container_fields", counted)
    asker = Asker()
    asker.json("/latest/containers")
    assert len(rendered) == 5
    rendered.clear()
    stopped = Container(uuid="container-1", name="Shop-Web-1", state="stopped", memberships=WEB_1.memberships)
    asker.change(*(stopped if each is WEB_1 else each for each in OBJECTS))
    shown = asker.json("/latest/stacks/shop/services/web/containers")
    assert {"name": "Shop-Web-1", "state": "stopped"} in shown
    assert rendered == ["container-1"]


def test_a_service_that_comes_after_its_containers() -> None:
    asker = Asker(client="10.42.0.11")
    asker.json("/latest")
    whole = asker.json("/latest")
    asker.change(*(each for each in OBJECTS if each not in (WEB, SHOP)))
    assert asker.json("/latest/self/container/service_name") is None
    assert asker.answer("/latest/self/stack").status == 404
    asker.change(*OBJECTS)
    assert asker.json("/latest") == whole


def test_a_tree_that_nobody_asks_for_is_dropped() -> None:
    now = 0.0
    world = World()
    publication = Publication(world, clock=lambda: now)
    publication.apply(world.apply(Full(epoch="e", revision=1, objects=OBJECTS, host="host-1")))
    first = publication.tree(Version.V2015_07)
    assert publication.tree(Version.V2015_07) is first
    now = 601.0
    publication.apply(world.apply(Full(epoch="e", revision=2, objects=OBJECTS[:-1], host="host-1")))
    assert publication.tree(Version.V2015_07) is not first


def test_relations_forget_what_is_gone() -> None:
    world = World()
    relations = Relations(world)
    relations.apply(world.apply(Full(epoch="e", revision=1, objects=OBJECTS, host="host-1")))
    assert relations.members("service-1_web") == {"container-1", "container-2"}
    assert relations.services("stack-1") == {"service-1_web", "service-1_data", "service-2_db", "service-3_lb"}
    assert relations.holder("10.42.0.11") == WEB_1
    relations.apply(world.apply(Full(epoch="e", revision=2, objects=OBJECTS[:1], host="host-1")))
    assert relations.members("service-1_web") == relations.services("stack-1") == frozenset()
    assert relations.holder("10.42.0.11") is None
