"""Containers that answer no longer are replaced, and only after as many failures as their check promises."""

import time

import pytest

from drover.client.resource import Resource
from tests.e2e.plane import Plane
from tests.e2e.waiting import eventually, stays

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.parametrize("planes", ["VXLAN"], indirect=True, ids=["vxlan"]),
]

_INTERVAL = 1.0
_UNHEALTHY = 3


async def _checked(plane: Plane, stack: str, *, strategy: str, scale: int = 3) -> None:
    check = {"port": 80, "request_line": 'GET "/health" "HTTP/1.0"', "strategy": strategy}
    check |= {"interval": int(_INTERVAL * 1000), "response_timeout": 5000, "initializing_timeout": 60000}
    check |= {"healthy_threshold": 2, "unhealthy_threshold": _UNHEALTHY, "reinitializing_timeout": 60000}
    compose = plane.write(f"{stack}/docker-compose.yml", {"web": plane.web()})
    rancher = plane.write(f"{stack}/rancher-compose.yml", {"web": {"scale": scale, "health_check": check}})
    await plane.drover("up", "-d", "-s", stack, "-f", compose, "--rancher-file", rancher, timeout=90)
    await eventually(
        lambda: _healths(plane, stack), lambda found: found == ["healthy"] * scale, what="all containers are healthy"
    )


async def _healths(plane: Plane, stack: str) -> list[str]:
    return [str(each.get("healthState")) for each in await plane.known(stack)]


async def _verdicts(plane: Plane, container: Resource) -> list[Resource]:
    """Each time that the server declared a container unhealthy. Unlike the state, which lasts a moment, this stays."""
    every = await plane.api.unscoped().list("processInstance", {"processName": "instance.updateunhealthy"})
    return [each for each in every if each.text("resourceId") == container.id]


async def test_a_container_that_fails_its_check_is_replaced(plane: Plane) -> None:
    await _checked(plane, "sick", strategy="recreate")
    victim, *others = await plane.of_service("sick/web")
    row = await plane.container(victim.name)
    assert not await _verdicts(plane, row)
    began = time.monotonic()
    await plane.sh(victim, "rm /srv/www/health")
    await eventually(lambda: _verdicts(plane, row), bool, what="the failure is noticed")
    noticed = time.monotonic() - began
    promised = _UNHEALTHY * _INTERVAL
    print(f"unhealthy after {noticed:.2f} s; the check promises {promised - _INTERVAL:.0f} to {promised:.0f} s")
    assert noticed > promised - _INTERVAL - 0.5, "fewer failures than the threshold sufficed"
    found = await eventually(
        lambda: plane.of_service("sick/web"),
        lambda found: victim.id not in {each.id for each in found} and sum(each.running for each in found) == 3,
        what="the container is replaced",
    )
    print(f"replaced after {time.monotonic() - began:.2f} s")
    assert {each.id for each in others} < {each.id for each in found}
    await eventually(
        lambda: _healths(plane, "sick"), lambda found: found == ["healthy"] * 3, what="all are healthy again"
    )


async def test_strategy_none_only_tells(plane: Plane) -> None:
    await _checked(plane, "told", strategy="none")
    victim, *_others = await plane.of_service("told/web")
    await plane.sh(victim, "rm /srv/www/health")
    await eventually(lambda: _healths(plane, "told"), lambda found: "unhealthy" in found, what="the failure is noticed")

    async def is_kept() -> bool:
        return victim.id in {each.id for each in await plane.of_service("told/web") if each.running}

    await stays(is_kept, bool, what="the container stays", seconds=4)
    await plane.sh(victim, "echo ok > /srv/www/health")
    await eventually(
        lambda: _healths(plane, "told"), lambda found: found == ["healthy"] * 3, what="it is healthy again"
    )
