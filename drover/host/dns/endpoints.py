"""Where a service can be reached: its containers, a virtual address, or machines outside, each with its health."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from drover.client.world import Container, Service
from drover.host.dns.records import Answer, absolute, is_name, pack_address

UP = frozenset({"running", "starting"})
WELL = frozenset({"healthy", "updating-healthy"})
STRICT_LABEL = "io.drover.dns.healthy_only"
"""A service with this label and the value ``true`` has no address while none of its containers is healthy."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Either an ``address`` of four bytes or the name of a machine, ``alias``."""

    address: bytes | None
    alias: str | None
    healthy: bool


def of_container(container: Container, address: str | None, service: Service) -> Endpoint | None:
    """None without an address: such a container is not to be reached."""
    packed = pack_address(address)
    return None if packed is None else Endpoint(packed, None, is_healthy(container, service))


def of_outside(service: Service) -> list[Endpoint]:
    """The machines that an external service stands for; nobody checks them."""
    if service.hostname:
        name = absolute(service.hostname)
        return [Endpoint(None, name, healthy=True)] if is_name(name) else []
    packed = (pack_address(each) for each in service.external_ips)
    return [Endpoint(each, None, healthy=True) for each in packed if each is not None]


def is_healthy(container: Container, service: Service) -> bool:
    """Up, and found well; nothing found yet is well enough where nobody looks."""
    if container.state not in UP:
        return False
    if not container.health_state:
        return service.health_check is None or not service.health_check.port
    return container.health_state in WELL


def answer(endpoints: Iterable[Endpoint], *, by_health: bool = True, strict: bool = False) -> Answer | None:
    """The healthy endpoints; when there is none, the last one, so that a service with containers always has an
    address (Rancher 1.6 does the same), unless the rule is ``strict``.
    """
    known = list(endpoints)
    chosen = [each for each in known if each.healthy or not by_health] or ([] if strict else known[-1:])
    if not chosen:
        return None
    addresses = tuple(dict.fromkeys(each.address for each in chosen if each.address is not None))
    return Answer(addresses, next((each.alias for each in chosen if each.alias is not None), None))


def is_strict(service: Service) -> bool:
    return service.labels.get(STRICT_LABEL, "").strip().lower() == "true"


def by_age(container: Container) -> tuple[int, str, str]:
    """The order of a service's containers; the last one answers when none is healthy."""
    return (container.create_index or 0, container.name or "", container.uuid)
