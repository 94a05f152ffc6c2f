"""What a declaration is made of.

A resource is declared once, as data: its fields, links, actions, who may see and change what, and the
processes that move it from state to state. Tables, API schemas, validation, rendering, filters and documentation
are derived from these values; nothing in this room acts on a resource.

Field names are the API's own (camelCase) throughout the server: a row read from the database and a body
posted by a client speak of the same ``imageUuid``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

EMPTY: Mapping[str, Any] = MappingProxyType({})

LinkKind = Literal["reference", "child", "map"]


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One attribute of a resource.

    ``access`` says in letters what people who use the type may do with the field: ``r`` read, ``c`` set on create,
    ``u`` update, ``o`` see its value in the response to the create only; empty: the field is hidden. ``also`` names
    the roles that may do more or less. Readers are never left more than ``r`` and ``o``, and the superadmin may do
    everything.

    ``type`` follows the API's grammar: ``string``, ``password``, ``int``, ``float``, ``date`` (epoch
    milliseconds inside the server), ``blob``, ``boolean``, ``enum``, ``json``, ``reference[T]``, ``array[X]``,
    ``map[X]`` or the name of another declared type, embedded.
    """

    type: str
    access: str = ""
    also: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # role -> letters
    column: bool = False  # an own database column; filterable. Everything else lives in the row's JSON
    filters: tuple[str, ...] = ()
    nullable: bool = False
    required: bool = False
    unique: bool = False
    default: Any = None
    min: int | None = None
    max: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    options: tuple[str, ...] = ()
    valid_chars: str | None = None
    invalid_chars: str | None = None
    schedule_update: bool = False  # a change by PUT runs the <type>.update process
    secret: bool = False  # encrypted or hashed at rest; never in a log, the audit trail or a response, but with ``o``
    in_lists: bool = True  # False: shown when one resource is read, left out of collections
    internal: bool = False  # kept by the server for itself: a column or stored value that no role ever sees
    description: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A relation shown in ``links``: our field refers to one, theirs refers to us, or a join type ties both.

    Fields are named as rows name them.

    A map link whose join type has a table is answered through that table. Where Drover keeps the relation
    without a join table, ``path`` names the pair of fields that replaces it: rows of ``type`` whose second field
    equals our first one. A map link with neither is empty by definition.
    """

    kind: LinkKind
    type: str
    field: str | None = None  # reference: our field; child: the field of the other type
    via: str | None = None  # map: the join type
    path: tuple[str, str] | None = None  # map: (our field, their field)


@dataclass(frozen=True, slots=True)
class Action:
    """Something a client may ask for by ``POST …?action=name``."""

    input: str | None = None
    output: str | None = None
    states: tuple[str, ...] = ()  # offered in these states only; empty: in any
    only_states: tuple[str, ...] = ()  # a handler's own condition, beside or instead of a process
    capability: str | None = None
    offered: bool = True  # False: schemas list it, but no resource ever offers it
    roles: tuple[str, ...] = ()  # empty: every role that may act on the type


@dataclass(frozen=True, slots=True)
class Access:
    """What one role may do with a type. A role without an access does not know that the type exists.

    ``grants``, when given, replaces what the fields say about the role: letters -> the only fields it sees.
    ``overrides`` are attributes of fields that differ for the role.
    """

    collection_methods: tuple[str, ...] = ()
    resource_methods: tuple[str, ...] = ()
    actions: tuple[str, ...] | Literal["*"] = "*"
    grants: Mapping[str, tuple[str, ...]] | None = None
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class Resource:
    """A declared type: stored in the table of its base type, or virtual (inputs, outputs, embedded)."""

    name: str
    plural: str
    id_prefix: str
    fields: Mapping[str, Field]
    links: Mapping[str, Link] = field(default_factory=lambda: EMPTY)
    actions: Mapping[str, Action] = field(default_factory=lambda: EMPTY)
    access: Mapping[str, Access] = field(default_factory=lambda: EMPTY)
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EMPTY)  # conditions that are no fields
    parent: str | None = None
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """A transition on a declared state machine, e.g. ``instance.start``.

    ``transitioning`` gives, for each start state, the state shown while the process runs; ``done`` the state
    it leaves behind, for each transitioning state. Being in a transitioning state is always a valid restart.
    Source of the table: Rancher 1.6 (cattle v0.183).
    """

    name: str
    resource_type: str
    transitioning: Mapping[str, str]
    done: Mapping[str, str]
    state_field: str = "state"
    delegate: str | None = None

    @property
    def start_states(self) -> frozenset[str]:
        return frozenset(self.transitioning)

    @property
    def transitioning_states(self) -> frozenset[str]:
        return frozenset(self.done)
