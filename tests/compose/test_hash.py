"""Fingerprints: what changes them, and what must not."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drover.compose import ServiceRef, plan_services
from drover.compose.hash import HASH_KEY, is_unset, launch_config_hash, service_hash
from drover.compose.references import Body

BASE = """
web: {image: a, environment: {A: 1}, labels: {io.rancher.sidekicks: side}}
side: {image: b}
"""


def prints(body: Body) -> tuple[str, str, str]:
    return (
        body["metadata"][HASH_KEY],
        body["launchConfig"]["labels"][HASH_KEY],
        body["secondaryLaunchConfigs"][0]["labels"][HASH_KEY],
    )


@pytest.mark.parametrize(
    ("more", "changed"),
    [
        ("web: {scale: 5}", (False, False, False)),
        ("web: {links: []}", (False, False, False)),
        ("web: {start_on_create: true}", (False, False, False)),
        ("web: {tty: false}", (False, False, False)),
        ("web: {upgrade_strategy: {start_first: true}}", (False, False, False)),
        ("web: {image: c}", (False, True, False)),
        ("web: {environment: {A: 2}}", (False, True, False)),
        ("web: {environment: {scale: 2}}", (False, True, False)),
        ("web: {environment: {B: ''}}", (False, True, False)),
        ("web: {health_check: {port: 1}}", (False, True, False)),
        ("web: {metadata: {a: 1}}", (True, False, False)),
        ("web: {retain_ip: true}", (True, False, False)),
        ("web: {description: x}", (True, False, False)),
        ("web: {scale_policy: {min: 2}}", (True, False, False)),
        ("side: {image: c}", (False, False, True)),
    ],
)
def test_what_changes_which_fingerprint(more: str, changed: tuple[bool, ...], body_of: Callable) -> None:
    before, after = prints(body_of(BASE)), prints(body_of(BASE, more))
    assert tuple(a != b for a, b in zip(before, after, strict=True)) == changed


def test_order_of_keys_does_not_count_order_of_lists_does(body_of: Callable) -> None:
    one = body_of("web: {image: a, environment: {A: 1, B: 2}, tty: true}")["launchConfig"]
    two = body_of("web: {tty: true, environment: {B: 2, A: 1}, image: a}")["launchConfig"]
    assert launch_config_hash(one) == launch_config_hash(two)
    assert launch_config_hash({"command": ["a", "b"]}) != launch_config_hash({"command": ["b", "a"]})


def test_nesting_and_boundaries_count() -> None:
    different = [{"a": {"b": "c"}}, {"a": ["b", "c"]}, {"a": "b", "c": ""}, {"ab": "c"}, {"a": [["b"], "c"]}]
    assert len({launch_config_hash(body) for body in different}) == len(different)


def test_fingerprints_are_forty_hex_digits_and_stable() -> None:
    assert service_hash({"name": "a", "scale": 1}) == service_hash({"name": "b", "scale": 9})
    assert len(launch_config_hash({})) == 40
    assert launch_config_hash({"imageUuid": "docker:a"}) == "b6f5bd517868f5af7ab47ec6f6c3582d3854042e"


def test_a_written_fingerprint_does_not_count(body_of: Callable) -> None:
    plain = prints(body_of(BASE))
    assert prints(body_of(BASE, f"web: {{labels: {{{HASH_KEY}: x}}, metadata: {{{HASH_KEY}: y}}}}")) == plain


def test_own_stack_and_bare_name_are_the_same_target(load: Callable) -> None:
    text = "lb: {image: a, lb_config: {port_rules: [{source_port: 1, service: %s}]}}\nweb: {image: b}\n"
    assert plan_services(load(text % "web")) == plan_services(load(text % "shop/web"))
    assert service_hash({"lbConfig": ServiceRef("a")}) != service_hash({"lbConfig": ServiceRef("b")})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_any_body_has_a_fingerprint_that_ignores_order(body: Body) -> None:
    assert launch_config_hash(body) == launch_config_hash(dict(reversed(body.items())))


@pytest.mark.parametrize("value", [None, False, 0, 0.0, "", [], (), {}])
def test_unset_values(value: object) -> None:
    assert is_unset(value)


@pytest.mark.parametrize("value", [True, 1, "x", [0], {"a": ""}, "0", ServiceRef("a")])
def test_set_values(value: object) -> None:
    assert not is_unset(value)
