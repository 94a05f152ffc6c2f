"""Policies as rules and sets: the documented translation, and what the original left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drover.client.network_policy import parse_policy
from drover.client.world import LbConfig, LbRule, Membership, Service, Stack
from drover.host.network.policy.translate import PolicyRules, translate
from tests.host.network.worlds import container, stock, world

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "vectors.json").read_text())
SHOP = Stack(uuid="shop", name="shop", environment_uuid="env")
BLOG = Stack(uuid="blog", name="blog", environment_uuid="env")


def service(uuid: str, stack: str, **more: Any) -> Service:
    return Service(uuid=uuid, name=uuid, stack_uuid=stack, stack_name=stack, environment_uuid="env", **more)


def member(uuid: str, of: str, **labels: str) -> dict[str, Any]:
    return {"memberships": (Membership(service_uuid=of, service_name=of),), "labels": labels}


def members(*more: Any) -> tuple[Any, ...]:
    """Two stacks over two hosts. Web is linked to db; the label `tier` spans the stacks."""
    return stock(
        SHOP,
        BLOG,
        service("web", "shop", links={"shop/db": "db"}),
        service("db", "shop"),
        service("posts", "blog"),
        container("web1", "10.42.0.11", **member("web1", "web", **{"com.example.tier": "front"})),
        container("web2", "10.42.0.12", host="h2", **member("web2", "web", **{"com.example.tier": "front"})),
        container("db1", "10.42.0.21", **member("db1", "db", **{"com.example.tier": "back"})),
        container("posts1", "10.42.0.31", host="h2", **member("posts1", "posts", **{"com.example.tier": "front"})),
        container("posts2", "10.42.0.32", state="stopped", **member("posts2", "posts")),
        *more,
    )


WEB, DB, POSTS, ROUTER = {"10.42.0.11", "10.42.0.12"}, {"10.42.0.21"}, {"10.42.0.31"}, {"10.42.1.1"}


def rules_of(rules: list[dict[str, Any]] | None, default: str, *more: Any) -> PolicyRules:
    return translate(parse_policy(rules, default), world(*members(*more)), "n1")


def readable(rules: PolicyRules) -> list[dict[str, Any]]:
    """The chain with sets replaced by what is in them."""
    chain: list[dict[str, Any]] = []
    for rule in rules.rules:
        words = rule.split()
        entry: dict[str, Any] = {"target": words[-1]}
        for position, word in enumerate(words):
            if word == "--match-set":
                entry[words[position + 2]] = set(rules.sets[words[position + 1]])
            if word in ("--ctstate", "--dport", "--sport", "--ctdir"):
                entry[word.lstrip("-")] = words[position + 1]
        chain.append(entry)
    return chain


SYSTEM = {"src": ROUTER, "target": "RETURN"}
LAST = {"dst": {"10.42.0.11", "10.42.0.21"}, "target": "DROP"}
EXPECTED: dict[str, list[dict[str, Any]]] = {
    "no rules, default allow": [],
    "no rules, default deny": [SYSTEM, LAST],
    "allow within stack, deny else": [
        SYSTEM,
        {"dst": {"10.42.0.11", "10.42.0.21"}, "src": WEB | DB, "target": "RETURN"},
        LAST,
    ],
    "allow within service": [
        SYSTEM,
        {"dst": DB, "src": DB, "target": "RETURN"},
        {"dst": {"10.42.0.11"}, "src": WEB, "target": "RETURN"},
        LAST,
    ],
    "allow linked": [
        SYSTEM,
        {"dst": DB, "src": WEB, "ctstate": "NEW,ESTABLISHED,RELATED", "target": "RETURN"},
        {"dst": {"10.42.0.11"}, "src": DB, "ctstate": "ESTABLISHED,RELATED", "target": "RETURN"},
        LAST,
    ],
    "group by label": [
        SYSTEM,
        {"dst": DB, "src": DB, "target": "RETURN"},
        {"dst": {"10.42.0.11"}, "src": WEB | POSTS, "target": "RETURN"},
        LAST,
    ],
}


@pytest.mark.parametrize("vector", VECTORS["policyTranslation"], ids=lambda each: each["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    chain = readable(rules_of(vector["rules"], vector["defaultAction"]))
    assert chain == EXPECTED[vector["name"]]
    # Each step of the documented chain is there, in its order and with its target.
    kinds = [(each["target"], each.get("ctstate")) for each in vector["chain"]]
    assert list(dict.fromkeys((each["target"], each.get("ctstate")) for each in chain)) == list(dict.fromkeys(kinds))


def test_between_a_selection() -> None:
    chain = readable(rules_of([{"between": {"selector": "com.example.tier=front"}, "action": "deny"}], "allow"))
    assert chain[1] == {"dst": {"10.42.0.11"}, "src": WEB | POSTS, "target": "DROP"}
    assert chain[-1]["target"] == "RETURN"


def test_from_to_with_ports_is_stateful() -> None:
    rule = {
        "from": {"selector": "com.example.tier=front"},
        "to": {"selector": "com.example.tier=back"},
        "ports": ["5432", "53/udp"],
        "action": "allow",
    }
    assert readable(rules_of([rule], "deny"))[1:-1] == [
        {"dport": "5432", "dst": DB, "src": WEB | POSTS, "ctstate": "NEW,ESTABLISHED,RELATED", "target": "RETURN"},
        {"dport": "53", "dst": DB, "src": WEB | POSTS, "ctstate": "NEW,ESTABLISHED,RELATED", "target": "RETURN"},
        {"sport": "5432", "dst": {"10.42.0.11"}, "src": DB, "ctstate": "ESTABLISHED,RELATED", "target": "RETURN"},
        {"sport": "53", "dst": {"10.42.0.11"}, "src": DB, "ctstate": "ESTABLISHED,RELATED", "target": "RETURN"},
    ]


def test_a_refusal_does_not_catch_answers() -> None:
    rule = {
        "from": {"selector": "com.example.tier=front"},
        "to": {"selector": "com.example.tier=back"},
        "action": "deny",
    }
    assert readable(rules_of([rule], "allow"))[1:-1] == [
        {"dst": DB, "src": WEB | POSTS, "ctdir": "ORIGINAL", "target": "DROP"}
    ]


def test_a_balancer_is_linked_to_what_it_balances() -> None:
    balancer = Service(
        uuid="lb",
        name="lb",
        kind="loadBalancerService",
        stack_uuid="shop",
        stack_name="shop",
        environment_uuid="env",
        lb_config=LbConfig(port_rules=(LbRule(service="shop/web"), LbRule(selector="role=posts"))),
    )
    posts = service("posts", "blog", labels={"role": "posts"})
    chain = readable(
        rules_of(
            [{"within": "linked", "action": "allow"}],
            "deny",
            balancer,
            posts,
            container("lb1", "10.42.0.41", **member("lb1", "lb")),
        )
    )
    assert {
        "dst": {"10.42.0.11"},
        "src": {"10.42.0.41"},
        "ctstate": "NEW,ESTABLISHED,RELATED",
        "target": "RETURN",
    } in chain
    assert {"dst": {"10.42.0.41"}, "src": WEB, "ctstate": "ESTABLISHED,RELATED", "target": "RETURN"} in chain
    assert {"dst": {"10.42.0.41"}, "src": POSTS, "ctstate": "ESTABLISHED,RELATED", "target": "RETURN"} in chain


def test_links_through_an_alias_and_of_single_containers() -> None:
    alias = service("store", "blog", kind="dnsService", links={"shop/db": "db", "blog/store": "loop"})
    posts = service("posts", "blog", links={"blog/store": "store"})
    single = container("single", "10.42.0.51", links={"database": "db1"})
    chain = readable(rules_of([{"within": "linked", "action": "allow"}], "deny", alias, posts, single))
    opened = [each["src"] for each in chain if each.get("dst") == DB and each["ctstate"].startswith("NEW")]
    assert opened == [{"10.42.0.51"}, WEB | POSTS]


def test_what_comes_from_outside() -> None:
    rules = [
        {
            "from": {"selector": "io.rancher.network.external in (192.0.2.0/24)"},
            "to": {"selector": "com.example.tier=front"},
            "ports": ["80"],
            "action": "allow",
        },
        {
            "from": {"selector": "io.rancher.network.external=true"},
            "to": {"selector": "com.example.tier=front"},
            "action": "deny",
        },
    ]
    found = rules_of(rules, "allow")
    assert [rule.split()[-1] for rule in found.external] == ["RETURN", "DROP"]
    assert found.external[0].startswith("-s 192.0.2.0/24 -p tcp -m tcp --dport 80 -m set --match-set ")
    assert [hook.rule for hook in found.hooks("10.42.0.0/16")] == [
        "! -s 10.42.0.0/16 -d 10.42.0.0/16 -m mark --mark 0x1068 -j CATTLE_EXTERNAL_POLICY"
    ]
    assert rules_of(None, "deny").hooks("10.42.0.0/16") == ()


def test_names_of_sets_fit_the_kernel_and_do_not_depend_on_members() -> None:
    before = rules_of([{"within": "stack", "action": "allow"}], "deny")
    after = rules_of(
        [{"within": "stack", "action": "allow"}], "deny", container("web3", "10.42.0.13", **member("web3", "web"))
    )
    assert all(len("TMP-" + name) <= 31 for name in before.sets)
    assert before.rules == after.rules
    assert before.sets != after.sets
