from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drover.placement import (
    Affinity,
    Container,
    Host,
    HostPort,
    Nowhere,
    Placement,
    Request,
    Subject,
    labels_of,
    parse_ports,
    place,
)

MIB = 1024 * 1024


def make_host(
    number: int, *containers: Container, memory: int | None = None, cpu: int | None = None, **labels: str
) -> Host:
    host = Host(number, name=f"h{number}", uuid=f"u{number}")
    host.describe(labels={key.replace("__", "."): value for key, value in labels.items()}, memory=memory, milli_cpu=cpu)
    for container in containers:
        host.put(container)
    return host


def chosen(request: Request, *hosts: Host) -> int:
    decision = place(request, hosts)
    assert isinstance(decision, Placement), decision
    return decision.host.id


def refusal(request: Request, *hosts: Host) -> str:
    decision = place(request, hosts)
    assert isinstance(decision, Nowhere), decision
    return decision.message


def web(number: int = 100, **values: object) -> Container:
    return replace(Container(number, name=f"web-{number}"), **values)  # type: ignore[arg-type]


def test_fewest_members_of_the_service_come_before_fewest_containers() -> None:
    crowded = make_host(1, *(Container(n, group=9) for n in range(5)))
    sibling = make_host(2, Container(50, group=7))
    assert chosen(Request((web(group=7),)), crowded, sibling) == 1


def test_free_memory_comes_before_fewest_containers() -> None:
    full = make_host(1, Container(1, memory=800), memory=1000)
    empty = make_host(2, Container(2), Container(3), memory=1000)
    assert chosen(Request((web(),)), full, empty) == 2


def test_equal_hosts_fill_evenly() -> None:
    hosts = [make_host(n) for n in range(1, 5)]
    for number in range(40):
        decision = place(Request((Container(number),)), hosts)
        assert isinstance(decision, Placement)
        decision.host.put(Container(number))
    assert {len(host.containers) for host in hosts} == {10}


def test_a_soft_wish_is_kept_if_it_can_be() -> None:
    wish = Affinity(Subject.CONTAINER_LABEL, "svc", "web", wanted=False, hard=False)
    labelled = labels_of({"svc": "web"})
    hosts = [make_host(n) for n in range(1, 4)]
    for number in range(4):
        decision = place(Request((web(number, labels=labelled),), (wish,)), hosts)
        assert isinstance(decision, Placement)
        decision.host.put(web(number, labels=labelled))
    assert sorted(len(host.containers) for host in hosts) == [1, 1, 2]


def test_reasons_are_given_host_by_host() -> None:
    port = parse_ports(["80:80"])
    first = make_host(1, web(1, name="web-1", ports=port), zone="a")
    second = make_host(2, zone="b")
    wish = Affinity(Subject.HOST_LABEL, "zone", "a", wanted=True, hard=True)
    message = refusal(Request((web(ports=port),), (wish,)), first, second)
    assert message == (
        "No healthy hosts meet the resource constraints: [portReservation: 80/tcp, instanceReservation: 1]. "
        "h1: port 80/tcp used by web-1; h2: label zone=b, needs a"
    )


@pytest.mark.parametrize(
    ("used", "wanted", "collides"),
    [
        ("80:80", "80:8080", True),
        ("80:80", "80:80/udp", False),
        ("10.0.0.1:80:80", "10.0.0.2:80:80", False),
        ("10.0.0.1:80:80", "80:80", True),
        ("80:80", "10.0.0.1:80:80", True),
        ("80", "80:80", False),
    ],
)
def test_ports(used: str, wanted: str, collides: bool) -> None:
    host = make_host(1, web(1, ports=parse_ports([used])))
    decision = place(Request((web(2, ports=parse_ports([wanted])),)), [host])
    assert isinstance(decision, Nowhere) is collides


def test_a_stopped_container_frees_its_ports_and_keeps_its_memory() -> None:
    port = parse_ports(["80:80"])
    host = make_host(1, web(1, ports=port, memory=600 * MIB, holds_ports=False), memory=1000 * MIB)
    assert chosen(Request((web(2, ports=port),)), host) == 1
    assert "memory: 400 MiB free, needs 500 MiB" in refusal(Request((web(2, memory=500 * MIB),)), host)


def test_a_unit_is_weighed_as_a_whole() -> None:
    small, large = make_host(1, memory=100 * MIB), make_host(2, Container(9), memory=300 * MIB)
    members = (web(1, memory=80 * MIB), web(2, memory=80 * MIB))
    assert chosen(Request(members), small, large) == 2
    doubled = tuple(replace(each, ports=parse_ports(["80:80"])) for each in members)
    assert refusal(Request(doubled), small, large) == "Port 80/tcp requested more than once."


def test_a_requested_host_ignores_wishes_and_limits_but_not_ports() -> None:
    host = make_host(1, web(1, ports=parse_ports(["80:80"])), memory=1)
    host.accepts = False
    wish = Affinity(Subject.HOST_LABEL, "zone", "a", wanted=True, hard=True)
    assert chosen(Request((web(2, memory=5),), (wish,), requested_host=1), host) == 1
    assert "port 80/tcp used by web-1" in refusal(
        Request((web(2, ports=parse_ports(["80:80"])),), requested_host=1), host
    )
    assert "does not exist" in refusal(Request((web(),), requested_host=5), host)


def test_a_container_may_only_run_where_what_it_shares_is() -> None:
    request = Request((web(),), only_hosts=((frozenset({2}), "shares the volumes of db on another host"),))
    assert chosen(request, make_host(1), make_host(2, Container(1), Container(2))) == 2
    assert "h1: shares the volumes of db" in refusal(request, make_host(1))


def test_a_host_can_insist_on_labels() -> None:
    host = make_host(1, io__rancher__scheduler__require_any="gpu,role=web")
    assert chosen(Request((web(labels=labels_of({"role": "WEB"})),)), host) == 1
    assert chosen(Request((web(labels=labels_of({"gpu": "0"})),)), host) == 1
    assert "takes only containers labelled gpu, role=web" in refusal(Request((web(),)), host)


def test_ports_go_to_a_free_one_of_the_hosts_addresses() -> None:
    host = make_host(1, io__rancher__scheduler__ips="10.0.0.1,10.0.0.2")
    for address in ("10.0.0.1", "10.0.0.2"):
        decision = place(Request((web(int(address[-1]), ports=parse_ports(["80:80"])),)), [host])
        assert isinstance(decision, Placement)
        (ports,) = decision.ports.values()
        assert ports == (HostPort(address, 80, 80, "tcp"),)
        host.put(web(int(address[-1]), ports=ports))
    assert "port 10.0.0.1:80/tcp used" in refusal(Request((web(9, ports=parse_ports(["80:80"])),)), host)


def test_without_hosts_the_user_is_told_so() -> None:
    assert "the environment has no host" in refusal(Request((web(),)))
    away = make_host(1)
    away.accepts, away.state = False, "its agent is disconnected"
    assert "h1: its agent is disconnected" in refusal(Request((web(),)), away)


containers = st.builds(
    Container,
    id=st.integers(1, 12),
    name=st.sampled_from(["a", "b", ""]),
    group=st.sampled_from([None, 1, 2]),
    labels=st.sampled_from([frozenset(), labels_of({"x": "1"}), labels_of({"x": "1", "y": "2"})]),
    memory=st.integers(0, 50),
    milli_cpu=st.integers(0, 50),
    ports=st.sampled_from([(), parse_ports(["80:80"]), parse_ports(["80:80", "10.0.0.1:81:81"])]),
    holds_ports=st.booleans(),
    visible=st.booleans(),
)


@settings(deadline=None)
@given(st.lists(st.tuples(containers, st.booleans())))
def test_counters_equal_a_recount(steps: list[tuple[Container, bool]]) -> None:
    host = make_host(1)
    left: dict[int, Container] = {}
    for container, put in steps:
        if put:
            host.put(container)
            left[container.id] = container
        else:
            host.take(container.id)
            left.pop(container.id, None)
    fresh = make_host(1, *left.values())
    assert host.containers == left
    assert (host.used_memory, host.used_milli_cpu) == (fresh.used_memory, fresh.used_milli_cpu)
    assert [host.members(group) for group in (1, 2)] == [fresh.members(group) for group in (1, 2)]
    assert host.has_label("x", "1") == fresh.has_label("x", "1")
    assert host.has_container("a") == fresh.has_container("a")
    port = HostPort("0.0.0.0", 80, 80, "tcp")
    assert (host.port_holder(port) is None) == (fresh.port_holder(port) is None)


@settings(deadline=None)
@given(st.lists(containers, max_size=8), st.lists(containers, max_size=8), containers)
def test_what_is_placed_fits(first: list[Container], second: list[Container], wanted: Container) -> None:
    hosts = [make_host(1, *first, memory=120, cpu=120), make_host(2, *second, memory=120, cpu=120)]
    wanted = replace(wanted, id=99)
    decision = place(Request((wanted,)), hosts)
    if isinstance(decision, Nowhere):
        assert "h1: " in decision.message
        assert "h2: " in decision.message
        return
    host = decision.host
    assert not wanted.memory or host.used_memory + wanted.memory <= 120
    assert not wanted.milli_cpu or host.used_milli_cpu + wanted.milli_cpu <= 120
    assert all(host.port_holder(port) is None for port in wanted.ports)
