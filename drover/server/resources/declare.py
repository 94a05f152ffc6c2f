"""The words in which resources are declared.

A declaration names what is particular about a type; what follows from a rule is derived here:

* A field listed under ``columns`` is a database column: it can be filtered by the modifiers of its type, and is null
  unless it says otherwise. A field listed under ``fields`` lives in the row's JSON.
* A type with processes gets an action for each of them, and its ``state`` takes the states they lead through.
* A password, and whatever is shown in the response to the create only, is secret.
* A kind has the fields, actions and access of its parent, and says what it changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypedDict, Unpack

from drover.server.resources.access import ADMINS_READ, RoleAccess, by_nobody
from drover.server.resources.model import EMPTY, Action, Field, Resource
from drover.server.resources.processes import processes_of, states_of

COMPARABLE = ("eq", "ne", "lt", "lte", "gt", "gte", "null", "notnull")
SEARCHABLE = ("eq", "ne", "prefix", "like", "notlike", "null", "notnull")
EQUAL = ("eq", "ne", "null", "notnull")
ONLY_EQUAL = ("eq",)

MEDIUM_TEXT = 16777215
SHORT_TEXT = 65535

PLURALS = {"registry": "registries", "identity": "identities", "serviceProxy": "serviceProxies"}
SAME_PLURAL = frozenset({"configContent", "processSummary", "publish", "register", "subscribe"})
SHORT_NAMES = {"stack": "st", "secret": "se"}


class Options(TypedDict, total=False):
    """What can be said about a field beside its type and access; the attributes of ``Field``."""

    also: Mapping[str, str]
    column: bool
    filters: tuple[str, ...]
    nullable: bool
    required: bool
    unique: bool
    default: Any
    min: int
    max: int
    min_length: int
    max_length: int | None
    valid_chars: str
    schedule_update: bool
    secret: bool
    in_lists: bool
    internal: bool


class Draft(Options):
    """A field before the type it belongs to has filled in the rest."""

    type: str
    access: str
    options: tuple[str, ...]


def typed(name: str, access: str = "", values: tuple[str, ...] = (), **options: Unpack[Options]) -> Draft:
    """A field of any type: ``map[string]``, ``array[reference[host]]``, or the name of an embedded type."""
    return Draft(type=name, access=access, options=values, **options)


def text(access: str = "", **options: Unpack[Options]) -> Draft:
    return typed("string", access, **options)


def number(access: str = "", **options: Unpack[Options]) -> Draft:
    return typed("int", access, **options)


def flag(access: str = "", **options: Unpack[Options]) -> Draft:
    return typed("boolean", access, **options)


def date(access: str = "", **options: Unpack[Options]) -> Draft:
    return typed("date", access, **options)


def password(access: str = "", **options: Unpack[Options]) -> Draft:
    return typed("password", access, **options)


def ref(target: str, access: str = "", **options: Unpack[Options]) -> Draft:
    return typed(f"reference[{target}]", access, **options)


def choice(values: str, access: str = "", **options: Unpack[Options]) -> Draft:
    """One of some words, given separated by blanks."""
    return typed("enum", access, words(values), **options)


def state(access: str = "") -> Draft:
    """The state of a resource; the processes of the type tell which ones there are."""
    return choice("", access, max_length=128)


def words(text: str) -> tuple[str, ...]:
    """A list of names, written as one text."""
    return tuple(text.split())


def standard(*without: str, **changed: Draft) -> dict[str, Draft]:
    """The columns that nearly every stored type has."""
    columns = {
        "id": number("r", max_length=None),
        "accountId": ref("account", "r"),
        "created": date("r"),
        "description": text("rcu", max_length=1024),
        "kind": text("r"),
        "name": text("rcu"),
        "removeTime": date(also=ADMINS_READ),
        "removed": date("r"),
        "state": state("r"),
        "uuid": text("r", max_length=128),
        "data": DATA,
    }
    return {name: draft for name, draft in (columns | changed).items() if name not in without}


DATA = typed("map[json]", also=ADMINS_READ, column=False, nullable=True, max_length=MEDIUM_TEXT)
SMALL_DATA = typed("map[json]", also=ADMINS_READ, column=False, nullable=True, max_length=SHORT_TEXT)

TRANSITIONING: Mapping[str, Draft] = {
    "transitioning": choice("yes no error", "r", nullable=False),
    "transitioningMessage": text("r", nullable=True),
    "transitioningProgress": number("r", nullable=True),
}


def resource(
    name: str,
    *,
    columns: Mapping[str, Draft] = EMPTY,
    fields: Mapping[str, Draft] = EMPTY,
    nullable: bool = False,
    actions: Mapping[str, Action] = EMPTY,
    capabilities: Mapping[str, tuple[str, ...]] = EMPTY,
    access: RoleAccess | None = None,
    stored: bool | None = None,
) -> Resource:
    """A type that has no parent.

    ``nullable`` is what the ``fields`` are unless they say otherwise; ``capabilities`` maps what a caller must be
    able to do to the actions that ask for it.
    """
    drafts = {key: column(draft) for key, draft in columns.items()}
    drafts |= {key: plain(draft, nullable) for key, draft in fields.items()}
    if "state" in columns and processes_of(name):
        drafts |= {key: plain(draft, False) for key, draft in TRANSITIONING.items()}
        if drafts["state"].type == "enum":
            drafts["state"] = replace(drafts["state"], options=tuple(sorted(states_of(name))))
    return Resource(
        name=name,
        plural=plural(name),
        id_prefix=id_prefix(name),
        fields=drafts,
        actions=merged_actions(_of_processes(name), actions, capabilities),
        access=by_nobody() if access is None else access,
        stored=bool(columns) if stored is None else stored,
    )


def kind(
    name: str,
    parent: Resource,
    *,
    columns: Mapping[str, Draft] = EMPTY,
    fields: Mapping[str, Draft] = EMPTY,
    nullable: bool = False,
    letters: Mapping[str, tuple[str, ...]] = EMPTY,
    actions: Mapping[str, Action] = EMPTY,
    capabilities: Mapping[str, tuple[str, ...]] = EMPTY,
    access: RoleAccess | None = None,
    filters: Mapping[str, tuple[str, ...]] = EMPTY,
    stored: bool | None = None,
) -> Resource:
    """A sub-type: the parent with more fields, other access to some (``letters`` -> field names), other actions."""
    drafts = dict(parent.fields)
    for given, names in letters.items():
        drafts |= {key: relettered(drafts[key], given) for key in names}
    drafts |= {key: column(draft) for key, draft in columns.items()}
    drafts |= {key: plain(draft, nullable) for key, draft in fields.items()}
    return Resource(
        name=name,
        plural=plural(name),
        id_prefix=parent.id_prefix,
        fields=drafts,
        actions=merged_actions(parent.actions, actions, capabilities),
        access=parent.access if access is None else access,
        filters=filters,
        parent=parent.name,
        stored=parent.stored if stored is None else stored,
    )


def plural(name: str) -> str:
    """The name of the collection: ``stack`` -> ``stacks``, ``ipAddress`` -> ``ipAddresses``."""
    if name in SAME_PLURAL:
        return name
    return PLURALS.get(name) or name + ("es" if name.endswith(("s", "ch", "x")) else "s")


def id_prefix(name: str) -> str:
    """``1`` and the initials of a base type: ``serviceExposeMap`` -> ``1sem``."""
    initials = name[0] + "".join(letter.lower() for letter in name if letter.isupper())
    return "1" + SHORT_NAMES.get(name, initials)


def column(draft: Draft) -> Field:
    """The field of a draft that is a database column."""
    values: dict[str, Any] = {"column": True, **draft}
    if values["column"]:
        values.setdefault("filters", filters_of(draft["type"]))
        values.setdefault("nullable", draft["type"] not in ("boolean", "enum"))
        values.setdefault("max_length", 255)
    return _finished(values)


def plain(draft: Draft, nullable: bool) -> Field:
    """The field of a draft that lives in the row's JSON, or of a type without rows."""
    return _finished({"nullable": nullable, **draft})


def relettered(field: Field, letters: str) -> Field:
    """The same field with other access; what turns out to be shown on create only is secret."""
    return replace(field, access=letters, secret=field.secret or "o" in letters)


def _finished(values: dict[str, Any]) -> Field:
    letters = values["access"] + "".join(values.get("also", EMPTY).values())
    values.setdefault("secret", values["type"] == "password" or "o" in letters)
    return Field(**values)


def filters_of(type_name: str) -> tuple[str, ...]:
    """The modifiers that a column of a type can be filtered by."""
    if type_name in ("int", "float", "date"):
        return COMPARABLE
    if type_name in ("string", "password"):
        return SEARCHABLE
    return EQUAL


def _of_processes(name: str) -> dict[str, Action]:
    return {
        process.name.partition(".")[2]: Action(output=name, states=tuple(sorted(process.start_states)))
        for process in processes_of(name)
    }


def merged_actions(
    inherited: Mapping[str, Action], given: Mapping[str, Action], capabilities: Mapping[str, tuple[str, ...]]
) -> dict[str, Action]:
    """Actions with others on top; one given anew keeps the output and the start states it had."""
    actions = dict(inherited)
    for name, action in given.items():
        before = inherited.get(name)
        if before is not None:
            action = replace(action, output=action.output or before.output, states=before.states)
        actions[name] = action
    for capability, names in capabilities.items():
        actions |= {name: replace(actions[name], capability=capability or None) for name in names}
    return {name: actions[name] for name in sorted(actions)}
