"""What checkers report (``serviceEvent``), and how hosts see a container (``healthcheckStates``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drover.server.api.call import Call
from drover.server.api.errors import ApiError
from drover.server.api.extensions import Extensions
from drover.server.api.ids import format_id
from drover.server.orchestration.health import CannotVerify, Health
from drover.server.orchestration.health.reports import Report
from drover.server.resources import Schema, catalog
from drover.server.store import Record, StoreError


def register(extensions: Extensions, health: Health) -> None:
    """``health`` takes the reports of this server."""

    async def create(call: Call, schema: Schema, given: dict[str, Any]) -> Record:
        report = Report(
            check_uuid=str(given.get("healthcheckUuid") or ""),
            health=str(given.get("reportedHealth") or ""),
            timestamp=given.get("externalTimestamp"),
        )
        try:
            return await health.reports.take(call.caller.agent_id, report)
        except CannotVerify as refused:
            raise ApiError(403, "CantVerifyHealthcheck", str(refused)) from refused
        except StoreError as lost:
            raise ApiError(
                409, "Conflict", "The check was reassigned at this moment; report again", detail=str(lost)
            ) from lost

    async def states(call: Call, records: Sequence[Record]) -> dict[int, dict[str, Any]]:
        if call.version == "v1":
            return {}
        return {record.id: {"healthcheckStates": _shown(health.book.states(record.id))} for record in records}

    extensions.creates("serviceEvent")(create)
    extensions.computes("instance")(states)


def _shown(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    prefix = catalog().resource("host").id_prefix
    return [{**state, "type": "healthcheckState", "hostId": format_id(prefix, state["hostId"])} for state in states]
