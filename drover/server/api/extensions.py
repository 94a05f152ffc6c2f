"""Where types get what the declarations cannot say: rules, handlers of actions, computed fields, virtual lists.

The generic routes look here, by type, and do their default when nothing is found. A type inherits from its parent:
what is registered for ``service`` holds for ``loadBalancerService``, too, unless that has its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from starlette.responses import Response

from drover.server.api.call import Call
from drover.server.api.draft import Draft
from drover.server.api.scope import stored_kind
from drover.server.resources import Schema, catalog
from drover.server.store import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A resource that is no row: a computed one, or the result of an action.

    ``values`` are shown as they are; ``id`` is shown as it is, too.
    """

    type: str
    values: Mapping[str, Any]
    id: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    actions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What the process of an action starts with: values stored in the same plan, and the process data."""

    values: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)


Item = Record | Output
Result = Record | Output | Sequence[Item] | Response | None

Rule = Callable[[Draft], Awaitable[None]]
Lister = Callable[[Call, Schema], Awaitable[Sequence[Item] | Response]]
Reader = Callable[[Call, Schema, str], Awaitable[Item | Response | None]]
Creator = Callable[[Call, Schema, dict[str, Any]], Awaitable[Item | Response]]
Updater = Callable[[Call, Schema, str, dict[str, Any]], Awaitable[Item | Response | None]]
Remover = Callable[[Call, Schema, str], Awaitable[Item | Response | None]]
ActionHandler = Callable[[Call, Record, dict[str, Any]], Awaitable[Result]]
Preparer = Callable[[Call, Record, dict[str, Any]], Awaitable["Prepared"]]
LinkHandler = Callable[[Call, Record], Awaitable[Result]]
Computer = Callable[[Call, Sequence[Record]], Awaitable[Mapping[int, Mapping[str, Any]]]]
ActionFilter = Callable[[Call, Record, list[str]], list[str]]
LinkNames = Callable[[Call, Record], Sequence[str]]

F = TypeVar("F", bound=Callable[..., Any])


class Extensions:
    """The registries. Each ``@extensions.xxx("type", ...)`` is a decorator that leaves the function as it is.

    A creator, updater or remover receives the converted and checked fields and answers for the whole operation; rules
    are not run for it. A reader and the like receive the id as the path gives it.
    """

    def __init__(self) -> None:
        self._rules: dict[str, list[Rule]] = {}
        self._computers: dict[str, list[Computer]] = {}
        self._action_filters: dict[str, list[ActionFilter]] = {}
        self._link_names: dict[str, list[LinkNames]] = {}
        self._listers: dict[str, Lister] = {}
        self._readers: dict[str, Reader] = {}
        self._creators: dict[str, Creator] = {}
        self._updaters: dict[str, Updater] = {}
        self._removers: dict[str, Remover] = {}
        self._actions: dict[tuple[str, str], ActionHandler] = {}
        self._preparers: dict[tuple[str, str], Preparer] = {}
        self._links: dict[tuple[str, str], LinkHandler] = {}

    # Registering

    def rule(self, *types: str) -> Callable[[F], F]:
        """``async (draft)`` runs before a row is created or changed, over the resulting object; raises ApiError."""
        return _append(self._rules, types)

    def computes(self, *types: str) -> Callable[[F], F]:
        """``async (call, records) -> {row id: {field: value}}`` adds fields when records are shown (v2-beta)."""
        return _append(self._computers, types)

    def filters_actions(self, *types: str) -> Callable[[F], F]:
        """``(call, record, names) -> names`` takes actions away that this caller may not use on this record."""
        return _append(self._action_filters, types)

    def names_links(self, *types: str) -> Callable[[F], F]:
        """``(call, record) -> [link name]``: links beside those of the schema."""
        return _append(self._link_names, types)

    def lists(self, *types: str) -> Callable[[F], F]:
        return _put(self._listers, types)

    def reads(self, *types: str) -> Callable[[F], F]:
        return _put(self._readers, types)

    def creates(self, *types: str) -> Callable[[F], F]:
        return _put(self._creators, types)

    def updates(self, *types: str) -> Callable[[F], F]:
        return _put(self._updaters, types)

    def removes(self, *types: str) -> Callable[[F], F]:
        return _put(self._removers, types)

    def action(self, name: str, *types: str) -> Callable[[F], F]:
        """``async (call, record, input)`` answers the action with status 200; without it, a process is scheduled."""
        return _put(self._actions, [(each, name) for each in types])

    def prepares(self, name: str, *types: str) -> Callable[[F], F]:
        """``async (call, record, input) -> Prepared`` judges an action before its process is scheduled."""
        return _put(self._preparers, [(each, name) for each in types])

    def link(self, name: str, *types: str) -> Callable[[F], F]:
        """``async (call, record)`` answers ``GET …/<id>/<name>``. The name is compared in lower case."""
        return _put(self._links, [(each, name.lower()) for each in types])

    # Looking up

    def rules(self, type_name: str) -> list[Rule]:
        return _gather(self._rules, type_name)

    def computers(self, type_name: str) -> list[Computer]:
        return _gather(self._computers, type_name)

    def action_filters(self, type_name: str) -> list[ActionFilter]:
        return _gather(self._action_filters, type_name)

    def link_namers(self, type_name: str) -> list[LinkNames]:
        return _gather(self._link_names, type_name)

    def lister(self, type_name: str) -> Lister | None:
        return self._listers.get(stored_kind(type_name))

    def reader(self, type_name: str) -> Reader | None:
        return self._readers.get(stored_kind(type_name))

    def creator(self, type_name: str) -> Creator | None:
        return self._creators.get(stored_kind(type_name))

    def updater(self, type_name: str) -> Updater | None:
        return _nearest(self._updaters, type_name)

    def remover(self, type_name: str) -> Remover | None:
        return _nearest(self._removers, type_name)

    def action_handler(self, type_name: str, name: str) -> ActionHandler | None:
        return _nearest_named(self._actions, type_name, name)

    def preparer(self, type_name: str, name: str) -> Preparer | None:
        return _nearest_named(self._preparers, type_name, name)

    def link_handler(self, type_name: str, name: str) -> LinkHandler | None:
        return _nearest_named(self._links, type_name, name.lower())


@cache
def ancestry(type_name: str) -> tuple[str, ...]:
    """The type and its ancestors, nearest first."""
    known = catalog().resources
    names = [stored_kind(type_name)]
    while (resource := known.get(names[-1])) is not None and resource.parent:
        names.append(resource.parent)
    return tuple(names)


T = TypeVar("T")
K = TypeVar("K")


def _append(registry: dict[str, list[T]], types: Sequence[str]) -> Callable[[F], F]:
    def register(function: F) -> F:
        for each in types:
            registry.setdefault(each, []).append(function)  # type: ignore[arg-type]
        return function

    return register


def _put(registry: dict[K, T], keys: Sequence[K]) -> Callable[[F], F]:
    def register(function: F) -> F:
        for key in keys:
            if key in registry:
                raise ValueError(f"{key} has a handler already")
            registry[key] = function  # type: ignore[assignment]
        return function

    return register


def _gather(registry: Mapping[str, list[T]], type_name: str) -> list[T]:
    """What is registered for the ancestors first: the general rule before the special one."""
    return [each for name in reversed(ancestry(type_name)) for each in registry.get(name, ())]


def _nearest(registry: Mapping[str, T], type_name: str) -> T | None:
    for each in ancestry(type_name):
        if found := registry.get(each):
            return found
    return None


def _nearest_named(registry: Mapping[tuple[str, str], T], type_name: str, name: str) -> T | None:
    for each in ancestry(type_name):
        if found := registry.get((each, name)):
            return found
    return None
