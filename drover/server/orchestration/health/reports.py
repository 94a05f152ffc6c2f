"""What checkers report: verified, reduced to what changes something, and stored.

A report that changes no vote costs no statement. Checkers report changes only, so what arrives in a quiet environment
is nothing at all.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from drover.common.clock import now_ms
from drover.common.errors import DroverError
from drover.server.orchestration.context import Context
from drover.server.orchestration.health.book import HEALTHY, INITIALIZING, REINITIALIZING, UNHEALTHY, Book, Target, Vote
from drover.server.orchestration.health.network_stacks import NetworkStacks
from drover.server.orchestration.mirror import Mirror
from drover.server.store import Changes, Record, Touched

log = structlog.get_logger(__name__)

EVENT = "serviceEvent"
_IGNORED = "INIT"
_UP = "UP"
_FORCE_SETTING = "ipsec.service.enable.healthcheck"


class CannotVerify(DroverError):
    """The reporter may not speak for what it reports; the text says why."""


@dataclass(frozen=True, slots=True)
class Report:
    """One report as it came. ``timestamp`` is in seconds since the epoch, on the reporter's clock."""

    check_uuid: str
    health: str
    timestamp: int | None


@dataclass(frozen=True, slots=True)
class _Reporter:
    """Where a report comes from: the host, and the container whose agent sent it (None: the host's own agent)."""

    host: Record
    checker: int | None


class Reports:
    """Takes reports. One instance serves all environments."""

    def __init__(self, context: Context, book: Book, hosts: Mirror, stacks: NetworkStacks) -> None:
        self._context = context
        self._book = book
        self._hosts = hosts
        self._stacks = stacks
        self._reporters: dict[int, _Reporter] = {}
        context.store.listen(self._forget)

    async def take(self, agent_id: int | None, report: Report) -> Record:
        """Store a report; returns the event, which is written only if the report changes something.

        Raises CannotVerify when the agent does not belong to the host that the report is about, or when that host
        does not check that container.
        """
        await self._book.ready()
        await self._stacks.ready()
        await self._hosts.ready()
        if agent_id is None:
            raise CannotVerify("Only the agent of a container on the checking host may report; use its key")
        reporter = await self._reporter(agent_id)
        target, vote, start_count = self._find(report, reporter.host)
        changes = self._context.store.changes()
        event = changes.insert(EVENT, _event_values(report, target, vote))
        health = self._health(report, target)
        if health is None or not self._counts(report, target, vote, start_count, health):
            return event
        if vote.health == health and vote.start_count == target.start_count and vote.checker == reporter.checker:
            return event
        self._plan_vote(changes, target, vote, health, report.timestamp or 0, reporter.checker)
        await self._context.store.commit(changes)
        log.debug("health.vote", instance_id=target.id, host_id=vote.host_id, health=health)
        return event

    async def vote(self, votes: Sequence[tuple[Target, Vote]], health: str) -> None:
        """Votes of hosts that are simulated in this server, in one plan and without a report."""
        changes = self._context.store.changes()
        for target, vote in votes:
            self._plan_vote(changes, target, vote, health, now_ms() // 1000, None)
        await self._context.store.commit(changes)

    # Who reports

    async def _reporter(self, agent_id: int) -> _Reporter:
        known = self._reporters.get(agent_id)
        if known is not None and self._hosts.get(known.host.id) is not None:
            return known
        instance = await self._context.store.first("instance", agentId=agent_id, removed=None)
        if instance is not None:
            host = self._hosts.get(instance["hostId"])
        else:
            host = next(self._hosts.where(agentId=agent_id), None)
        if host is None:
            raise CannotVerify("This agent belongs to no host and to no container on one; use the checker's own key")
        reporter = _Reporter(host, None if instance is None else instance.id)
        self._reporters[agent_id] = reporter
        return reporter

    def _forget(self, touched: Sequence[Touched]) -> None:
        for row in touched:
            if row.type != "instance" or row.after is None or row.after["agentId"] is None:
                continue
            if row.after["removed"] or row.changed("hostId") or row.changed("agentId"):
                self._reporters.pop(int(row.after["agentId"]), None)

    # What is reported

    def _find(self, report: Report, host: Record) -> tuple[Target, Vote, int | None]:
        """The vote that a report is about, and the start of the container that it speaks of (None: not said)."""
        parts = report.check_uuid.split("_")
        start_count: int | None = None
        if len(parts) > 2:
            target = self._book.by_uuid(parts[1])
            vote = None if target is None or parts[0] != host.uuid else target.votes.get(host.id)
            start_count = int(parts[2]) if parts[2].isdigit() else None
        else:
            target, vote = self._book.by_map_uuid(parts[0]) or (None, None)
        if target is None or vote is None or vote.host_id != host.id or target.account_id != host.account_id:
            raise CannotVerify(
                "Your host does not check this container; read health_check_hosts in metadata and report again"
            )
        return target, vote, start_count

    def _health(self, report: Report, target: Target) -> str | None:
        if report.health == _IGNORED or report.timestamp is None:
            return None
        driver = self._stacks.has(target.record["stackId"])
        if report.health == _UP or (driver and not self._context.settings.bool(_FORCE_SETTING)):
            return HEALTHY
        return UNHEALTHY

    @staticmethod
    def _counts(report: Report, target: Target, vote: Vote, start_count: int | None, health: str) -> bool:
        """Whether a report is about the present: an earlier start, an older clock and a phase that only its time-out
        ends make it worthless, and a container that does not run cannot fail a check.
        """
        if start_count is not None and start_count < target.start_count:
            return False
        if (report.timestamp or 0) < vote.timestamp:
            return False
        if health == UNHEALTHY:
            return target.running and target.health not in (None, INITIALIZING, REINITIALIZING)
        return True

    @staticmethod
    def _plan_vote(
        changes: Changes, target: Target, vote: Vote, health: str, timestamp: int, checker: int | None
    ) -> None:
        changes.guard(vote.record, removed=None)
        changes.update(
            vote.record,
            {
                "healthState": health,
                "externalTimestamp": timestamp,
                "startCount": target.start_count,
                "checkerId": checker,
            },
        )


def _event_values(report: Report, target: Target, vote: Vote) -> dict[str, object]:
    return {
        "kind": EVENT,
        "uuid": str(uuid.uuid4()),
        "state": "created",
        "created": now_ms(),
        "accountId": target.account_id,
        "healthcheckUuid": report.check_uuid,
        "reportedHealth": report.health,
        "externalTimestamp": report.timestamp,
        "hostId": vote.host_id,
        "instanceId": target.id,
        "healthcheckInstanceId": target.registration_id,
    }
