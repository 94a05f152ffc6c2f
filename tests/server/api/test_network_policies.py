"""Policies are judged when they are written: a host would only keep its last rules."""

from __future__ import annotations

import pytest

from tests.server.api.channels.conftest import Wire, wire

__all__ = ["wire"]
pytestmark = pytest.mark.anyio


async def test_an_unusable_policy_is_refused_with_its_reason(wire: Wire) -> None:
    _, found = await wire.call("GET", f"{wire.project}/networks?kind=managed")
    url = found["data"][0]["links"]["self"]
    for policy, reason in (
        ([{"within": "stack", "ports": ["80"], "action": "allow"}], "rule 1: within excludes between/from/to/ports"),
        ([{"from": {"selector": "a=b"}, "to": {"selector": ""}, "action": "deny"}], "rule 1: to needs a selector"),
        ([{"within": "stack", "action": "allow"}, {"between": {}, "action": "allow"}], "rule 2: between needs"),
    ):
        status, refused = await wire.call("PUT", url, {"policy": policy})
        assert (status, refused["code"], refused["fieldName"]) == (422, "InvalidOption", "policy"), refused
        assert reason in refused["message"]


async def test_a_usable_policy_is_stored(wire: Wire) -> None:
    _, found = await wire.call("GET", f"{wire.project}/networks?kind=managed")
    url = found["data"][0]["links"]["self"]
    policy = [
        {"within": "linked", "action": "allow"},
        {"from": {"selector": "tier=web"}, "to": {"selector": "tier=db"}, "ports": ["5432"], "action": "allow"},
    ]
    status, changed = await wire.call("PUT", url, {"policy": policy, "defaultPolicyAction": "deny"})
    assert status in (200, 202), changed
    assert changed["defaultPolicyAction"] == "deny"
    assert [each["action"] for each in changed["policy"]] == ["allow", "allow"]
