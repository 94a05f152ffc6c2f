"""Whether a change of the world can matter to a balancer at all.

An environment changes all the time, a balancer's targets seldom. This look at a delta costs microseconds; it may say
yes too often, never no where it should say yes.
"""

from __future__ import annotations

from dataclasses import dataclass

from drover.client.world import Container, Delta, Service
from drover.placement.selectors import SelectorError, parse_selector


@dataclass(frozen=True, slots=True)
class Interest:
    """What the last build read: names of services looked up, keys of services and containers that were used."""

    own: str
    service: str
    names: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    parents: frozenset[str] = frozenset()
    selectors: tuple[str, ...] = ()

    def concerns(self, delta: Delta) -> bool:
        if delta.host_changed or any(key.kind in ("stack", "environment") for key in delta.changes):
            return True
        return any(self._service_matters(*pair) for pair in delta.of("service")) or any(
            self._container_matters(*pair) for pair in delta.of("container")
        )

    def _service_matters(self, before: Service | None, after: Service | None) -> bool:
        return any(each is not None and self._uses(each) for each in (before, after))

    def _uses(self, service: Service) -> bool:
        if service.key == self.service or service.key in self.keys:
            return True
        name = f"{service.stack_name}/{service.name}".lower()
        if name in self.names or any(each.endswith(f"/{name}") for each in self.names if each.count("/") > 1):
            return True
        return any(_matches(selector, service) for selector in self.selectors)

    def _container_matters(self, before: Container | None, after: Container | None) -> bool:
        if before is not None and after is not None and _endpoint(before) == _endpoint(after):
            return False
        return any(
            each is not None
            and (
                each.uuid == self.own
                or each.uuid in self.parents
                or any(f"{one.service_uuid}_{one.service_name}".lower() in self.keys for one in each.memberships)
            )
            for each in (before, after)
        )


def _endpoint(container: Container) -> tuple[object, ...]:
    """The part of a container that a balancer sees. ``start_count`` ends the draining of an earlier run."""
    return (
        container.state,
        container.primary_ip,
        container.host_uuid,
        container.memberships,
        container.network_from_container_uuid,
        container.start_count,
    )


def _matches(selector: str, service: Service) -> bool:
    try:
        return parse_selector(selector).matches(service.labels)
    except SelectorError:
        return False
