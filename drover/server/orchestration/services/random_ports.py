"""Public ports for services that publish a port without saying where: ``80`` becomes ``49153:80`` for good.

The port is the service's, not the container's: it stays through restarts, scaling and upgrades, and is the same on
every host. Source: Rancher 1.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drover.placement.ports import PortError, parse_port
from drover.server.orchestration.context import Context
from drover.server.orchestration.services.spec import DEPLOYS
from drover.server.store import Changes, Record

_RANGE_SETTING = "environment.services.port.range"


class NoPortsLeft(Exception):
    """The environment's range is used up."""


class RandomPorts:
    """Chooses free ports of the environment's range; a claim in the database decides between two that choose alike."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def plan(self, changes: Changes, service: Record) -> dict[str, Any]:
        """The launch configs with the ports filled in; empty when nothing is missing."""
        if service.kind not in DEPLOYS or service.kind == "loadBalancerService":
            return {}
        primary: dict[str, Any] = dict(service["launchConfig"] or {})
        sidekicks: list[dict[str, Any]] = [dict(each) for each in service["secondaryLaunchConfigs"] or []]
        needed = sum(_open_count(config) for config in (primary, *sidekicks))
        if not needed:
            return {}
        free = await self._free(int(service["accountId"]), needed)
        for number in free:
            changes.claim(f"{_claims_of(int(service['accountId']))}{number}", service)
        numbers = iter(free)
        return {
            "launchConfig": _filled(primary, numbers),
            "secondaryLaunchConfigs": [_filled(each, numbers) for each in sidekicks],
        }

    async def _free(self, account_id: int, needed: int) -> list[int]:
        account = await self._context.store.get("account", account_id)
        first, last = self._range(account)
        used = await self._used(account_id)
        free = [number for number in range(first, last + 1) if number not in used][:needed]
        if len(free) < needed:
            raise NoPortsLeft(
                f"Not enough environment ports to create service. Needed: {needed}, available: {len(free)}; "
                "remove services or widen the environment's port range"
            )
        return free

    async def _used(self, account_id: int) -> set[int]:
        claimed = await self._context.store.claimed(_claims_of(account_id))
        used = {int(key.rpartition(":")[2]) for key in claimed}
        for service in await self._context.store.find_by("service", accountId=account_id, removed=None):
            for config in (service["launchConfig"] or {}, *(service["secondaryLaunchConfigs"] or [])):
                for text in config.get("ports") or []:
                    public = _public(str(text))
                    if public is not None:
                        used.update(range(public[0], public[1] + 1))
        return used

    def _range(self, account: Record | None) -> tuple[int, int]:
        own: Mapping[str, Any] = (account["servicesPortRange"] if account is not None else None) or {}
        if own.get("startPort") and own.get("endPort"):
            return int(own["startPort"]), int(own["endPort"])
        first, _, last = self._context.settings.get(_RANGE_SETTING).partition("-")
        return int(first), int(last)


def _claims_of(account_id: int) -> str:
    return f"service-port:{account_id}:"


def _public(text: str) -> tuple[int, int] | None:
    try:
        return parse_port(text).public
    except PortError:
        return None  # the API has refused it; a row from elsewhere must not stop the others


def _open_count(config: Mapping[str, Any]) -> int:
    return sum(1 for text in config.get("ports") or [] if _public(str(text)) is None)


def _filled(config: dict[str, Any], numbers: Any) -> dict[str, Any]:
    ports: Sequence[Any] = config.get("ports") or []
    if not ports:
        return config
    return {**config, "ports": [text if _public(str(text)) else f"{next(numbers)}:{text}" for text in map(str, ports)]}
