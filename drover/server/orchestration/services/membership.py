"""Members and links that follow from labels: what ``selectorContainer`` and ``selectorLink`` select.

A service with ``selectorContainer`` has every running container whose labels match as an (unmanaged) member; one with
``selectorLink`` is linked to every service whose primary launch config's labels match, and so is a load balancer whose
rules select their targets. All is kept true from the commits; what a user linked by hand is never touched.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

import structlog

from drover.common.clock import now_ms
from drover.placement.selectors import Selector, SelectorError, parse_selector
from drover.server.orchestration.context import Context
from drover.server.orchestration.mirror import Mirror
from drover.server.store import Changes, Record, StoreError, Touched

log = structlog.get_logger(__name__)

_GATHER_SECONDS = 0.1
_MEMBER_STATES = frozenset({"starting", "running", "restarting", "updating-running"})
_GONE = {"state": "removed"}
# Marks the links that a selector made, so that only those go when the labels no longer match.
BY_SELECTOR = "bySelector"


class Membership:
    """Evaluates selectors. Environments without any cost nothing."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._selecting = Mirror(context.store, "service", _selects)
        self._instances: dict[int, Record] = {}
        self._services: set[int] = set()
        self._link_accounts: set[int] = set()
        self._wake = asyncio.Event()
        context.store.listen(self._hear)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._selecting.ready()
        self._services |= {service.id for service in self._selecting}
        self._link_accounts |= {int(s["accountId"]) for s in self._selecting if _link_selectors(s)}
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(_GATHER_SECONDS)
            try:
                await self._settle()
            except StoreError as lost:
                log.info("selectors.lost_race", reason=str(lost))
                self._wake.set()

    def _hear(self, touched: Sequence[Touched]) -> None:
        for row in touched:
            if row.after is None:
                continue
            if row.type == "instance" and len(self._selecting) and row.changed("state"):
                self._instances[row.id] = row.after
                self._wake.set()
            elif row.type == "service":
                self._hear_service(row, row.after)

    def _hear_service(self, row: Touched, service: Record) -> None:
        if row.changed("selectorContainer"):
            self._services.add(service.id)
            self._wake.set()
        watched = ("selectorLink", "lbConfig", "launchConfig", "removed")
        if any(row.changed(each) for each in watched) and service.account_id is not None:
            self._link_accounts.add(service.account_id)
            self._wake.set()

    async def _settle(self) -> None:
        services, self._services = self._services, set()
        for service_id in services:
            await self._settle_members(service_id)
        instances, self._instances = self._instances, {}
        await self._settle_instances(
            [each for each in instances.values() if each["serviceId"] is None or len(instances)]
        )
        accounts, self._link_accounts = self._link_accounts, set()
        for account_id in accounts:
            await self._settle_links(account_id)

    # Containers

    async def _settle_members(self, service_id: int) -> None:
        """A selector is new or was changed: compare with every running container of the environment."""
        service = await self._context.store.get("service", service_id)
        if service is None:
            return
        selector = _selector(service["selectorContainer"]) if service["removed"] is None else None
        members = await self._members(service_id)
        wanted: dict[int, Record] = {}
        if selector is not None:
            running = await self._context.store.find_by(
                "instance", accountId=service.account_id, removed=None, state=tuple(_MEMBER_STATES)
            )
            wanted = {each.id: each for each in running if selector.matches(each["labels"])}
        changes = self._context.store.changes()
        for instance_id, row in members.items():
            if instance_id not in wanted:
                _plan_gone(changes, row)
        for instance_id in wanted:
            if instance_id not in members:
                _plan_member(changes, service, instance_id)
        await self._context.store.commit(changes)

    async def _settle_instances(self, instances: Sequence[Record]) -> None:
        """Containers started or ended: ask each selector of their environment about their labels."""
        for service in list(self._selecting):
            selector = _selector(service["selectorContainer"])
            concerned = [each for each in instances if each.account_id == service.account_id]
            if selector is None or not concerned:
                continue
            members = await self._members(service.id)
            changes = self._context.store.changes()
            for instance in concerned:
                lives = instance["removed"] is None and instance.state not in ("removing", "error")
                if instance.id in members and not lives:
                    _plan_gone(changes, members[instance.id])
                elif (
                    instance.id not in members
                    and instance.state in _MEMBER_STATES
                    and selector.matches(instance["labels"])
                ):
                    _plan_member(changes, service, instance.id)
            await self._context.store.commit(changes)

    async def _members(self, service_id: int) -> dict[int, Record]:
        """Unmanaged members by container."""
        rows = await self._context.store.find_by(
            "serviceExposeMap", serviceId=service_id, removed=None, managed=False, upgrade=False
        )
        return {int(row["instanceId"]): row for row in rows if row["instanceId"] is not None}

    # Links

    async def _settle_links(self, account_id: int) -> None:
        services = await self._context.store.find_by("service", accountId=account_id, removed=None)
        selecting = [(service, selectors) for service in services if (selectors := _link_selectors(service))]
        rows = await self._context.store.find_by("serviceConsumeMap", accountId=account_id, removed=None)
        made = {(int(r["serviceId"]), int(r["consumedServiceId"] or 0)): r for r in rows if r[BY_SELECTOR]}
        existing = {(int(r["serviceId"]), int(r["consumedServiceId"] or 0)) for r in rows}
        changes = self._context.store.changes()
        wanted: set[tuple[int, int]] = set()
        for consumer, selectors in selecting:
            for target in services:
                labels = (target["launchConfig"] or {}).get("labels")
                if target.id != consumer.id and any(selector.matches(labels) for selector in selectors):
                    wanted.add((consumer.id, target.id))
        for key, row in made.items():
            if key not in wanted:
                _plan_gone(changes, row)
        for consumer_id, target_id in wanted - existing:
            changes.insert(
                "serviceConsumeMap",
                {
                    "kind": "serviceConsumeMap",
                    "uuid": str(uuid.uuid4()),
                    "accountId": account_id,
                    "serviceId": consumer_id,
                    "consumedServiceId": target_id,
                    "state": "active",
                    "created": now_ms(),
                    BY_SELECTOR: True,
                },
            )
        await self._context.store.commit(changes)


def _selects(service: Record) -> bool:
    return bool(service["selectorContainer"] or _link_selectors(service))


def _link_selectors(service: Record) -> list[Selector]:
    """What chooses the services that this one uses: its own selector, or the rules of a load balancer."""
    texts: list[object] = [service["selectorLink"]]
    config = service["lbConfig"] if isinstance(service["lbConfig"], dict) else {}
    for rule in config.get("portRules") or ():
        elsewhere = rule.get("environment") or rule.get("region")
        texts.append(None if elsewhere else rule.get("selector"))
    return [selector for text in texts if (selector := _selector(text)) is not None]


def _selector(text: object) -> Selector | None:
    if not text:
        return None
    try:
        return parse_selector(str(text))
    except SelectorError as error:
        log.warning("selector.unreadable", selector=text, reason=str(error))
        return None


def _plan_member(changes: Changes, service: Record, instance_id: int) -> None:
    changes.insert(
        "serviceExposeMap",
        {
            "kind": "serviceExposeMap",
            "uuid": str(uuid.uuid4()),
            "accountId": service.account_id,
            "serviceId": service.id,
            "instanceId": instance_id,
            "managed": False,
            "upgrade": False,
            "state": "active",
            "created": now_ms(),
        },
    )


def _plan_gone(changes: Changes, row: Record) -> None:
    changes.update(row, {**_GONE, "removed": now_ms(), "removeTime": now_ms()})
