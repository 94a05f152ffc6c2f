"""What an environment sees of others on this server: services it consumes, or that consume its own, with all they need.

Two environments may see each other when an account link says so, or when a link between services crosses from one to
the other. What is shown of the other one is no more than the linked services, their containers, and the stacks, hosts
and networks of these; never a service's token, and not who checks the health of its containers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import sqlalchemy as sa

from drover.client.world import Container, Key, Object, Service
from drover.server.resources.tables import table
from drover.server.snapshot.environment import Environment
from drover.server.snapshot.facts import Consumption, EnvironmentFact, InstanceFact, ServiceName, StackName
from drover.server.snapshot.sheet import FactKey
from drover.server.store import Condition, Query, Store

_PARTS = 3  # environment/stack/service


async def neighbours(store: Store, account_id: int) -> set[int]:
    """The environments that this one may see a part of. Three statements, however many links there are."""
    found: set[int] = set()
    for own, other in (("accountId", "linkedAccountId"), ("linkedAccountId", "accountId")):
        conditions = (Condition(own, "eq", account_id), Condition("removed", "null"))
        rows = await store.find(Query("accountLink", conditions))
        found.update(int(row[other]) for row in rows if row[other] is not None)
    link, service = table("serviceConsumeMap").c, table("service").c
    crossing = sa.select(link.account_id.label("consumer"), service.account_id.label("consumed")).where(
        link.consumed_service_id == service.id,
        link.account_id != service.account_id,
        link.removed.is_(None),
        sa.or_(link.account_id == account_id, service.account_id == account_id),
    )
    for row in await store.rows(crossing.distinct()):
        found.update((int(row.consumer), int(row.consumed)))
    found.discard(account_id)
    return found


def foreign_objects(own: Environment, other: Environment) -> dict[Key, Object]:
    """What ``own`` is shown of ``other``."""
    return {key: _without_secrets(each) for key, each in other.objects_of(_cells(own, other)).items()}


def foreign_names(own: Environment, other: Environment) -> dict[int, ServiceName]:
    """The names of the services of ``other`` that are consumed by number, by that number."""
    found: dict[int, ServiceName] = {}
    environment: EnvironmentFact | None = other.sheet.fact("account", other.account_id)
    for _, link in _links(own):
        service: ServiceName | None = other.sheet.fact("serviceName", link.service_id)
        if service is None or link.service_id is None:
            continue
        stack: StackName | None = other.sheet.fact("stack", service.stack_id)
        if stack is not None and environment is not None:
            qualified = f"{environment.name}/{stack.name}/{service.name}"
            found[link.service_id] = ServiceName(service.uuid, service.name, None, qualified)
    return found


def _cells(own: Environment, other: Environment) -> Iterator[FactKey]:
    """The rows of ``other`` whose objects are shown: linked services first, then what belongs to them."""
    sheet = other.sheet
    services = set(_consumed(own, other)) | set(_consumers(other, own))
    instances: set[int] = set()
    for number in services:
        yield ("service", number)
        fact = sheet.fact("service", number)
        if fact is not None and fact.stack_id is not None:
            yield ("stack", fact.stack_id)
        members: Mapping[int, int] = sheet.fact("members", number) or {}
        instances.update(members.values())
    for number in instances:
        yield ("instance", number)
        instance: InstanceFact | None = sheet.fact("instance", number)
        if instance is not None:
            if instance.host_id is not None:
                yield ("host", instance.host_id)
            if instance.network_id is not None:
                yield ("network", instance.network_id)


def _consumed(consumer: Environment, owner: Environment) -> Iterator[int]:
    """The services of ``owner`` that services of ``consumer`` are linked to."""
    return (target for _, target in _crossing(consumer, owner))


def _consumers(consumer: Environment, owner: Environment) -> Iterator[int]:
    """The services of ``consumer`` that are linked to services of ``owner``."""
    return (number for number, _ in _crossing(consumer, owner))


def _crossing(consumer: Environment, owner: Environment) -> Iterator[tuple[int, int]]:
    """Pairs of a service of ``consumer`` and the one of ``owner`` that it consumes, by number or by qualified name."""
    names: Mapping[str, int] | None = None
    for number, link in _links(consumer):
        target = link.service_id
        if target is None and link.service is not None and link.service.count("/") == _PARTS - 1:
            names = _qualified_names(owner) if names is None else names
            target = names.get(link.service.lower())
        if target is not None and owner.sheet.fact("service", target) is not None:
            yield number, target


def _links(environment: Environment) -> Iterator[tuple[int, Consumption]]:
    for consumer, links in environment.sheet.facts("consumptions").items():
        for link in links.values():
            yield consumer, link


def _qualified_names(environment: Environment) -> dict[str, int]:
    """``environment/stack/service`` in lower case -> number of the service."""
    sheet = environment.sheet
    own: EnvironmentFact | None = sheet.fact("account", environment.account_id)
    found: dict[str, int] = {}
    for number, service in sheet.facts("serviceName").items():
        stack: StackName | None = sheet.fact("stack", service.stack_id)
        if own is not None and stack is not None:
            found[f"{own.name}/{stack.name}/{service.name}".lower()] = number
    return found


def _without_secrets(each: Object) -> Object:
    if isinstance(each, Service):
        return msgspec.structs.replace(each, token=None)
    if isinstance(each, Container):
        return msgspec.structs.replace(each, health_check_hosts=())
    return each
