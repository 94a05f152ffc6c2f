from __future__ import annotations

import pytest

from drover.placement import Affinity, Container, Host, Subject, affinities_of, fill_macros, labels_of

PREFIX = "io.rancher.scheduler.affinity:"


def host(**labels: str) -> Host:
    found = Host(1, name="h1")
    found.describe(labels=labels)
    return found


@pytest.mark.parametrize(
    ("label", "value", "expected"),
    [
        ("host_label", "zone=A", Affinity(Subject.HOST_LABEL, "zone", "a", wanted=True, hard=True)),
        ("host_label_ne", "zone=a", Affinity(Subject.HOST_LABEL, "zone", "a", wanted=False, hard=True)),
        ("host_label_soft", "zone=a", Affinity(Subject.HOST_LABEL, "zone", "a", wanted=True, hard=False)),
        ("container_soft_ne", "Web", Affinity(Subject.CONTAINER, "", "web", wanted=False, hard=False)),
        ("container_label", "tier=", Affinity(Subject.CONTAINER_LABEL, "tier", "", wanted=True, hard=True)),
    ],
)
def test_labels_are_read(label: str, value: str, expected: Affinity) -> None:
    assert affinities_of({PREFIX + label: value}) == [expected]


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("affinity:container==web", Affinity(Subject.CONTAINER, "", "web", wanted=True, hard=True)),
        ("affinity:container!=~web", Affinity(Subject.CONTAINER, "", "web", wanted=False, hard=False)),
        ("constraint:zone==~a", Affinity(Subject.HOST_LABEL, "zone", "a", wanted=True, hard=False)),
        ("affinity:tier!=db", Affinity(Subject.CONTAINER_LABEL, "tier", "db", wanted=False, hard=True)),
    ],
)
def test_names_of_variables_are_read(variable: str, expected: Affinity) -> None:
    assert affinities_of({}, {variable: ""}) == [expected]


def test_a_list_is_several_wishes_and_other_labels_are_none() -> None:
    found = affinities_of({PREFIX + "host_label": "a=1, b=2,", PREFIX + "volumes": "x", "other": "y"})
    assert [(each.key, each.value) for each in found] == [("a", "1"), ("b", "2")]


def test_macros_come_from_the_containers_own_labels() -> None:
    labels = {"io.rancher.stack.name": "shop", "io.rancher.stack_service.name": "shop/web/side"}
    assert fill_macros("${stack_name}/${service_name}", labels) == "shop/web/side"
    assert fill_macros("${project_name}", labels) == "shop"
    assert fill_macros("${stack_name}", {}) == "${stack_name}"


@pytest.mark.parametrize(
    ("wanted", "labels", "objection"),
    [
        (True, {"zone": "a"}, None),
        (True, {"ZONE": "A"}, None),
        (True, {"zone": "b"}, "label zone=b, needs a"),
        (True, {}, "no label zone, needs a"),
        (False, {}, None),
        (False, {"zone": "a"}, "label zone=a"),
    ],
)
def test_host_labels(wanted: bool, labels: dict[str, str], objection: str | None) -> None:
    wish = Affinity(Subject.HOST_LABEL, "zone", "a", wanted=wanted, hard=True)
    assert wish.objection(host(**labels)) == objection


def test_containers_are_known_by_name_uuid_and_label() -> None:
    found = host()
    found.put(Container(1, uuid="U-1", name="Web", labels=labels_of({"Tier": "DB"})))
    near = [("container", "web"), ("container", "u-1"), ("container_label", "tier=db")]
    for subject, value in near:
        (wish,) = affinities_of({PREFIX + subject: value})
        assert wish.objection(found) is None
        (away,) = affinities_of({PREFIX + subject + "_ne": value})
        assert away.objection(found) is not None


def test_a_container_in_error_is_no_neighbour() -> None:
    found = host()
    found.put(Container(1, labels=labels_of({"a": "b"}), visible=False))
    (wish,) = affinities_of({PREFIX + "container_label": "a=b"})
    assert wish.objection(found) == "no container labelled a=b"
