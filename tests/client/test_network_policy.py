"""Reading policies: every documented refusal, and what is understood."""

from __future__ import annotations

from typing import Any

import pytest

from drover.client.network_policy import (
    Between,
    FromOutside,
    FromTo,
    PolicyError,
    Port,
    Within,
    parse_policy,
)

FROM, TO = {"selector": "a=b"}, {"selector": "c=d"}

INVALID: list[tuple[Any, str]] = [
    ({}, "needs within, between, or from and to"),
    ({"within": "host", "action": "allow"}, "within must be stack, service or linked"),
    ({"within": "stack", "ports": ["80"], "action": "allow"}, "within excludes between/from/to/ports"),
    ({"between": {}, "action": "allow"}, "between needs selector or groupBy"),
    ({"from": FROM, "action": "allow"}, "from and to are needed together"),
    ({"from": FROM, "to": TO, "ports": ["0"], "action": "allow"}, "port range 1-65535"),
    ({"from": FROM, "to": TO, "ports": ["80/sctp"], "action": "allow"}, "protocol tcp or udp"),
    ({"from": {"selector": ""}, "to": TO, "action": "allow"}, "from needs a selector"),
    ({"within": "stack", "action": "log"}, "action allow or deny"),
    ({"between": {"groupBy": "a"}, "ports": ["80"], "action": "allow"}, "between excludes from/to/ports"),
    ({"from": {"selector": "a b"}, "to": TO, "action": "allow"}, "from: "),
    ({"from": FROM, "to": TO, "ports": "80", "action": "allow"}, "ports is a list"),
    ({"from": {"selector": "io.rancher.network.external in (x)"}, "to": TO, "action": "deny"}, "IPv4 subnets"),
    ({"from": FROM, "to": {"selector": "io.rancher.network.external=true"}, "action": "deny"}, "only stand in from"),
    ("within", "needs within, between, or from and to"),
]


@pytest.mark.parametrize(("rule", "text"), INVALID, ids=[text for _, text in INVALID])
def test_refusals(rule: Any, text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy([{"within": "stack", "action": "allow"}, rule], "allow")
    assert text in str(caught.value)
    assert str(caught.value).startswith("rule 2: ")
    assert caught.value.rule == 1


def test_the_default_action_is_checked() -> None:
    with pytest.raises(PolicyError, match="default action"):
        parse_policy(None, "drop")
    assert parse_policy(None, None).open
    assert not parse_policy([], "deny").open


def test_rules_as_the_api_stores_them() -> None:
    blank = {"within": None, "between": None, "from": None, "to": None, "ports": None}
    rules = [
        blank | {"within": "linked", "action": "allow"},
        blank | {"between": {"groupBy": "tier", "selector": None}, "action": "deny"},
        blank | {"from": FROM, "to": TO, "ports": ["80", "53/UDP", "80/tcp"], "action": "allow"},
        blank | {"from": {"selector": "io.rancher.network.external=true"}, "to": TO, "action": "deny"},
        blank
        | {"from": {"selector": "io.rancher.network.external in (192.0.2.1, 10.0.0.0/8)"}, "to": TO, "action": "allow"},
    ]
    within, between, from_to, outside, some = parse_policy(rules, "deny").rules
    assert within == Within("linked", allow=True)
    assert between == Between(None, "tier", allow=False)
    assert isinstance(from_to, FromTo)
    assert from_to.ports == (Port(80, "tcp"), Port(53, "udp"))
    assert isinstance(outside, FromOutside)
    assert outside.sources == ()
    assert isinstance(some, FromOutside)
    assert some.sources == ("10.0.0.0/8", "192.0.2.1/32")
