"""How a type of v1 differs from the same type of v2-beta.

The first version of the API was frozen long before the second one was finished: it lacks the newer fields and types,
has a few old ones, and calls a stack an environment. What it shares with v2-beta, it takes from there; only the
differences are declared (``types.version1``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from dataclasses import field as attribute

from drover.server.resources.access import RoleAccess
from drover.server.resources.declare import Draft, column, id_prefix, merged_actions, plain, plural, relettered
from drover.server.resources.model import EMPTY, Action, Field, Resource

ENVIRONMENT = "environment"
STACK = "stack"


@dataclass(frozen=True, slots=True)
class Change:
    """What v1 drops from a type, adds to it or says otherwise. A kind inherits the changes of its parent."""

    drop: tuple[str, ...] = ()
    columns: Mapping[str, Draft] = attribute(default_factory=lambda: EMPTY)
    fields: Mapping[str, Draft] = attribute(default_factory=lambda: EMPTY)
    letters: Mapping[str, tuple[str, ...]] = attribute(default_factory=lambda: EMPTY)
    actions: Mapping[str, Action] = attribute(default_factory=lambda: EMPTY)
    drop_actions: tuple[str, ...] = ()
    capabilities: Mapping[str, tuple[str, ...]] = attribute(default_factory=lambda: EMPTY)
    access: RoleAccess | None = None


UNCHANGED = Change()


def derived(
    resources: Iterable[Resource],
    changes: Mapping[str, Change],
    absent: frozenset[str],
    restorable: Iterable[str],
) -> list[Resource]:
    """The types of v1. Parents come before their kinds, in ``resources`` as in the result."""
    current = {item.name: item for item in resources}
    made: dict[str, Resource] = {}
    for item in current.values():
        if item.name in absent:
            continue
        given = _restorable(item) if item.name in restorable else item
        if item.parent is not None:
            given = _inheriting(item, current[item.parent], made[item.parent])
        made[item.name] = _changed(given, changes.get(item.name, UNCHANGED))
    return [_renamed(item) for item in made.values()]


def _restorable(item: Resource) -> Resource:
    """v1 lists an action ``restore``, and the state it would lead through, that no release ever offered."""
    state = item.fields["state"]
    if state.options:
        state = replace(state, options=tuple(sorted((*state.options, "restoring"))))
    restore = Action(output=item.name, offered=False)
    return replace(item, fields={**item.fields, "state": state}, actions={**item.actions, "restore": restore})


def _inheriting(item: Resource, parent: Resource, new_parent: Resource) -> Resource:
    """A kind after the changes to its parent."""
    return replace(
        item,
        fields=_inherited_fields(item, parent, new_parent),
        actions=_inherited_actions(item, parent, new_parent),
        access=new_parent.access if item.access is parent.access else item.access,
    )


def _changed(item: Resource, change: Change) -> Resource:
    fields = {name: found for name, found in item.fields.items() if name not in change.drop}
    for letters, names in change.letters.items():
        fields |= {name: relettered(fields[name], letters) for name in names}
    fields |= {name: column(draft) for name, draft in change.columns.items()}
    fields |= {name: plain(draft, False) for name, draft in change.fields.items()}
    actions = {name: action for name, action in item.actions.items() if name not in change.drop_actions}
    return replace(
        item,
        fields=fields,
        actions=merged_actions(actions, change.actions, change.capabilities),
        access=item.access if change.access is None else change.access,
    )


def _inherited_fields(item: Resource, parent: Resource, new_parent: Resource) -> dict[str, Field]:
    """The fields of a kind after the changes to its parent, with its own ones and its own letters kept."""
    fields = {name: field for name, field in new_parent.fields.items() if name not in parent.fields}
    for name, field in item.fields.items():
        before, after = parent.fields.get(name), new_parent.fields.get(name)
        if before is None:
            fields[name] = field
        elif after is None:
            continue
        elif field is before:
            fields[name] = after
        elif before is after:
            fields[name] = field
        else:
            fields[name] = relettered(after, field.access)
    return fields


def _inherited_actions(item: Resource, parent: Resource, new_parent: Resource) -> dict[str, Action]:
    own = {name: action for name, action in item.actions.items() if action != parent.actions.get(name)}
    return {name: own.get(name, action) for name, action in new_parent.actions.items()} | {
        name: action for name, action in own.items() if name not in parent.actions
    }


def with_stored_names(item: Resource) -> Resource:
    """The same type, its links naming the fields of rows: what v1 calls ``environmentId`` is kept as ``stackId``."""
    links = {
        name: replace(link, field="stackId") if link.field == "environmentId" else link
        for name, link in item.links.items()
    }
    return replace(item, links=links)


def _renamed(item: Resource) -> Resource:
    """The same type with every mention of a stack replaced by environment."""
    name = _renamed_type(item.name)
    base = name if item.parent is None else _renamed_type(item.parent)
    return replace(
        item,
        name=name,
        plural=plural(name),
        id_prefix=id_prefix(base) if STACK in (item.name, item.parent) else item.id_prefix,
        parent=_renamed_type(item.parent) if item.parent else None,
        fields={
            _renamed_field(key): replace(field, type=field.type.replace("[stack]", "[environment]"))
            if "[stack]" in field.type
            else field
            for key, field in item.fields.items()
        },
        actions={key: _renamed_action(action) for key, action in item.actions.items()},
    )


def _renamed_type(name: str) -> str:
    return ENVIRONMENT if name == STACK else name


def _renamed_field(name: str) -> str:
    return "environmentId" if name == "stackId" else name


def _renamed_action(action: Action) -> Action:
    takes = "environmentUpgrade" if action.input == "stackUpgrade" else action.input
    output = ENVIRONMENT if action.output == STACK else action.output
    return action if (takes, output) == (action.input, action.output) else replace(action, input=takes, output=output)
