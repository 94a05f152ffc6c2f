from __future__ import annotations

import pytest

from drover.server.orchestration.services.digest import Digest
from drover.server.orchestration.services.health import Part, combined_health, service_health
from tests.server.orchestration.services.builders import add_unit, service_spec


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (["running", "running"], "healthy"),
        (["running", "stopped"], "degraded"),
        (["stopped", "stopped"], "unhealthy"),
        ([], "unhealthy"),
        (["running", {"state": "running", "healthState": "unhealthy"}], "degraded"),
        (["running", {"state": "running", "healthState": "initializing"}], "initializing"),
        (["running", {"state": "running", "healthState": "healthy"}], "healthy"),
    ],
)
def test_service(members: list[object], expected: str) -> None:
    digest = Digest(service_spec(scale=2))
    for index, member in enumerate(members, 1):
        add_unit(digest, index, primary=member)
    assert service_health(digest, serving_hosts=set()) == expected


def test_start_once_services_end_well() -> None:
    spec = service_spec(scale=1, launchConfig={"labels": {"io.rancher.container.start_once": "true"}})
    digest = Digest(spec)
    add_unit(digest, 1, primary={"state": "stopped", "startCount": 1})
    assert service_health(digest, serving_hosts=set()) == "started-once"


def test_global_services_count_only_serving_hosts() -> None:
    digest = Digest(service_spec(launchConfig={"labels": {"io.rancher.scheduler.global": "true"}}))
    add_unit(digest, 1, host=1, requested=1, primary="running")
    add_unit(digest, 2, host=2, requested=2, primary="stopped")
    assert service_health(digest, serving_hosts={1}) == "healthy"
    assert service_health(digest, serving_hosts={1, 2}) == "degraded"
    assert service_health(digest, serving_hosts=set()) == "unhealthy"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], "healthy"),
        ([("removed", "unhealthy")], "healthy"),
        ([("active", "healthy"), ("active", "started-once")], "healthy"),
        ([("active", "started-once")], "started-once"),
        ([("active", "healthy"), ("inactive", "healthy")], "degraded"),
        ([("inactive", "healthy")], "unhealthy"),
        ([("active", "initializing"), ("active", "unhealthy")], "initializing"),
        ([("active", "healthy"), ("active", "unhealthy")], "degraded"),
        ([("active", "degraded")], "degraded"),
        ([("upgraded", "healthy")], "healthy"),
    ],
)
def test_combined(parts: list[tuple[str, str]], expected: str) -> None:
    assert combined_health([Part(*part) for part in parts]) == expected
