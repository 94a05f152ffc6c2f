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
    roles: tuple[str, ...]


class ActionTable:
    """The actions of one type for one role, with the states they are offered in."""

    def __init__(self, schema: Schema) -> None:
        base = stored_kind(schema.stored_type or schema.base_type)
        self._offered = [
            _offered(base, name, action) for name, action in schema.actions.items() if name not in _NEVER_OFFERED
        ]
        self._by_state: dict[str, list[OfferedAction]] = {}

    def available(self, call: Call, record: Record) -> list[str]:
        """The names of the actions that the caller may use on the record now."""
        return [each.name for each in self._in_state(record) if _permitted(call, record, each)]

    def _in_state(self, record: Record) -> list[OfferedAction]:
        state = record.state
        found = self._by_state.get(state)
        if found is None:
            found = self._by_state[state] = [
                each
                for each in self._offered
                if each.states is None or each.state_field != "state" or state in each.states
            ]
        return found


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
    return OfferedAction(name, state_field, states, action.capability, getattr(action, "roles", ()))


def _permitted(call: Call, record: Record, action: OfferedAction) -> bool:
    if action.state_field != "state" and action.states is not None and record[action.state_field] not in action.states:
        return False
    if action.roles and call.caller.role not in action.roles:
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
