"""What a simulated host says of the containers that it is to check."""

from __future__ import annotations

from typing import Any

import pytest

from drover.simulator.program import started_check


def activation(name: str = "web", **fields: Any) -> dict[str, Any]:
    instance = {"uuid": "c", "name": name, "startCount": 2, "data": {"fields": fields}}
    return {"instanceHostMap": {"instance": instance, "host": {"uuid": "h"}}}


def test_a_check_begins_with_the_next_start() -> None:
    data = activation(healthCheck={"port": 80})

    assert started_check("compute.instance.activate", data) == "h_c_3"


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("compute.instance.activate", activation()),
        ("compute.instance.activate", activation("x-simUnhealthy", healthCheck={"port": 80})),
        ("compute.instance.deactivate", activation(healthCheck={"port": 80})),
        ("ping", None),
    ],
)
def test_nothing_to_check(event: str, data: dict[str, Any] | None) -> None:
    assert started_check(event, data) is None
