"""Several files, and base services."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drover.compose import SourceFile, load_project
from drover.compose.errors import Mark
from drover.compose.keys import KEYS, Merge
from drover.compose.merge import Draft, Setting, merge

MARK = Mark("f", 1, 1)


def two(first: str, second: str) -> dict[str, object]:
    project = load_project(
        files=[SourceFile("a.yml", f"web: {{image: nginx, {first}}}"), SourceFile("b.yml", f"web: {{{second}}}")],
        rancher_files=[],
        variables={},
        stack_name="s",
        source=None,
    )
    service = project.services["web"]
    return {name: getattr(service, name) for name in service.__struct_fields__}


@pytest.mark.parametrize(
    ("first", "second", "key", "result"),
    [
        ("command: a b", "command: c", "command", ("c",)),
        ("entrypoint: [a]", "entrypoint: [c, d]", "entrypoint", ("c", "d")),
        ("ports: [80, 81]", "ports: [81, 82]", "ports", ("80", "81", "82")),
        ("dns: 1.1.1.1", "dns: [1.1.1.1, 2.2.2.2]", "dns", ("1.1.1.1", "2.2.2.2")),
        ("ports: [80]", "ports: []", "ports", ()),
        ("environment: {A: 1, B: 1}", "environment: [B=2]", "environment", {"A": "1", "B": "2"}),
        ("labels: [a=1]", "labels: {b: 2}", "labels", {"a": "1", "b": "2"}),
        ("privileged: true", "privileged: false", "privileged", False),
        ("cpu_shares: 5", "cpu_shares: 0", "cpu_shares", 0),
        ("user: a", "user: ~", "user", "a"),
        ("image: x", "image: y", "image", "y"),
        ("tmpfs: /a", "tmpfs: [/b]", "tmpfs", {"/a": "", "/b": ""}),
        ("metadata: {a: {x: 1}, b: 1}", "metadata: {a: {y: 1}}", "metadata", {"a": {"y": 1}, "b": 1}),
    ],
)
def test_later_files(first: str, second: str, key: str, result: object) -> None:
    assert two(first, second)[key] == result


def test_lb_config_survives_a_later_file() -> None:
    rules = "lb_config: {port_rules: [{source_port: 80, service: x}], config: a}"
    config = two(rules, "scale: 2")["lb_config"]
    assert config.port_rules[0].source_port == 80
    config = two(rules, "lb_config: {certs: [c]}")["lb_config"]
    assert (config.certs, config.config, config.port_rules[0].service) == (("c",), "a", "x")


def test_the_same_file_twice_changes_nothing(load: Callable) -> None:
    text = "web: {image: nginx, ports: [80], command: a b, links: [db], environment: {A: 1}}\ndb: {image: x}\n"
    assert load(text, text).services["web"] == load(text).services["web"]


def test_versions_may_mix(load: Callable) -> None:
    project = load("version: '2'\nservices:\n  web: {image: a, network_mode: host}\n", "web: {scale: 3, net: none}\n")
    assert project.services["web"].scale == 3
    assert project.services["web"].network_mode == "none"


def test_rancher_keys_may_stand_in_either_file(load: Callable) -> None:
    project = load("version: 2\nservices:\n  web: {scale: 2}\n  db: {image: b}\n", "web: {image: a, tty: true}\n")
    assert (project.services["web"].scale, project.services["web"].image) == (2, "a")


def test_a_leftover_in_the_rancher_file_is_a_warning(load: Callable) -> None:
    project = load("web: {image: a}\n", "wep: {scale: 2}\n")
    assert list(project.services) == ["web"]
    assert "stands only in the rancher-compose file" in str(project.warnings[0])


LISTS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True).map(tuple)
MAPS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=3)
TEXTS = st.sampled_from("xyz")
KEYS_BY_RULE = {
    Merge.CONCATENATE: ("ports", LISTS),
    Merge.UNITE: ("labels", MAPS),
    Merge.REPLACE: ("image", TEXTS),
}


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    settings = {key: Setting(draw(values), MARK) for key, values in KEYS_BY_RULE.values() if draw(st.booleans())}
    return Draft("web", MARK, settings)


@settings(deadline=None)
@given(drafts(), drafts(), drafts())
def test_merging_is_associative(a: Draft, b: Draft, c: Draft) -> None:
    assert merge(merge(a, b), c).settings == merge(a, merge(b, c)).settings


@settings(deadline=None)
@given(drafts())
def test_merging_with_itself_or_nothing_changes_nothing(a: Draft) -> None:
    assert merge(a, a).settings == a.settings
    assert merge(a, Draft("web", MARK, {})).settings == a.settings


def test_the_rule_of_each_sample_is_the_one_tested() -> None:
    assert {rule: KEYS[key].merge for rule, (key, _) in KEYS_BY_RULE.items()} == {rule: rule for rule in KEYS_BY_RULE}
