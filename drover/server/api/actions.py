"""Which actions a resource offers now, and to whom.

An action that runs a process is offered in the states that the process starts from and in those it passes through
(so that what hangs can be asked for again). Rancher 1.6 does the same; ``restore`` and ``create`` are never offered.
"""

from __future__ import annotations

from dataclasses import dataclass

from drover.server.api.call import Call
from drover.server.api.scope import stored_kind
from drover.server.resources import Action, Process, Schema, catalog
from drover.server.store import Record

_NEVER_OFFERED = frozenset({"restore", "create"})


def process_name(base_type: str, action: str) -> str:
    """``serviceExposeMap``, ``remove`` -> ``serviceexposemap.remove``"""
    return f"{base_type.lower()}.{action.lower()}"


def find_process(base_type: str, action: str) -> Process | None:
    return catalog().processes.get(process_name(base_type, action))


@dataclass(frozen=True, slots=True)
class OfferedAction:
    """When one action is offered. ``states`` None: in any."""

    name: str
    state_field: str
    states: frozenset[str] | None
    capability: str | None

    @property
    def conditional(self) -> bool:
        """Whether more than ``state`` decides."""
        return self.capability is not None or self.state_field != "state"


class ActionTable:
    """The actions of one type for one role, with the states they are offered in."""

    def __init__(self, schema: Schema) -> None:
        base = stored_kind(schema.stored_type or schema.base_type)
        self._offered = [
            _offered(base, name, action) for name, action in schema.actions.items() if name not in _NEVER_OFFERED
        ]
        self._by_state: dict[str, tuple[list[OfferedAction], bool]] = {}

    def available(self, call: Call, record: Record) -> list[str]:
        """The names of the actions that the caller may use on the record now."""
        found, conditional = self._in_state(record)
        if not conditional:
            return [each.name for each in found]
        return [each.name for each in found if not each.conditional or _permitted(call, record, each)]

    def _in_state(self, record: Record) -> tuple[list[OfferedAction], bool]:
        """The actions that the state allows, and whether any of them depends on more than that."""
        state = record.state
        known = self._by_state.get(state)
        if known is None:
            found = [each for each in self._offered if _fits(each, state)]
            known = self._by_state[state] = (found, any(each.conditional for each in found))
        return known


def _fits(action: OfferedAction, state: str) -> bool:
    return action.states is None or action.state_field != "state" or state in action.states


def _offered(base_type: str, name: str, action: Action) -> OfferedAction:
    process = find_process(base_type, name)
    states: frozenset[str] | None = None
    state_field = "state"
    if process is not None:
        states = process.start_states | process.transitioning_states
        state_field = process.state_field
    elif action.states:
        states = frozenset(action.states)
    if action.only_states:
        only = frozenset(action.only_states)
        states = only if states is None else states & only
    return OfferedAction(name, state_field, states, action.capability)


def _permitted(call: Call, record: Record, action: OfferedAction) -> bool:
    if action.state_field != "state" and action.states is not None and record[action.state_field] not in action.states:
        return False
    match action.capability:
        case None:
            return True
        case "modifyInfra":
            return call.caller.modify_infra
        case "owner" | "setMembers":
            caller = call.caller
            return caller.project_owner or caller.all_accounts or bool(record["callerIsOwner"])
        case "console":
            return record.kind == "virtualMachine"
    return False
