"""Objects kept current like the cells of a spreadsheet: facts go in, and only what read a changed fact is made anew.

A fact is the little that matters of a database row, under the name of its type and its number. A formula makes the
objects that one row stands for, out of facts that it looks up; what it looked up is remembered. Which rows affect
which objects is therefore nowhere written down, and cannot be forgotten when a formula reads one more fact.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from drover.client.world import Object

FactKey = tuple[str, int]
Objects = tuple[Object, ...]
Formula = Callable[["Look", int], Objects]

_NOTHING: Mapping[int, Any] = {}


class Look:
    """The facts as a formula sees them; every look is noted."""

    __slots__ = ("_facts", "seen")

    def __init__(self, facts: Mapping[str, Mapping[int, Any]]) -> None:
        self._facts = facts
        self.seen: set[FactKey] = set()

    def fact(self, name: str, number: int | None) -> Any:
        """The fact, or None."""
        if number is None:
            return None
        self.seen.add((name, number))
        return self._facts.get(name, _NOTHING).get(number)

    def group(self, name: str, number: int) -> Mapping[int, Any]:
        """The facts of many rows about one thing, by the number of the row."""
        self.seen.add((name, number))
        found: Mapping[int, Any] = self._facts.get(name, _NOTHING).get(number, _NOTHING)
        return found


class Sheet:
    """Facts, formulas by the name of the fact that they are about, and what awaits evaluation."""

    def __init__(self, formulas: Mapping[str, Formula]) -> None:
        self._formulas = formulas
        self._facts: defaultdict[str, dict[int, Any]] = defaultdict(dict)
        self._looks: dict[FactKey, set[FactKey]] = {}
        self._readers: dict[FactKey, set[FactKey]] = {}
        self._stale: dict[FactKey, None] = {}

    @property
    def stale(self) -> bool:
        return bool(self._stale)

    def fact(self, name: str, number: int | None) -> Any:
        return None if number is None else self._facts[name].get(number)

    def facts(self, name: str) -> Mapping[int, Any]:
        """All facts of a name, by number."""
        return self._facts[name]

    def put(self, name: str, number: int, value: Any) -> None:
        """State a fact; None takes it back. Nothing happens when it was known already."""
        facts = self._facts[name]
        if facts.get(number) == value:
            return
        if value is None:
            del facts[number]
        else:
            facts[number] = value
        self._changed(name, number)

    def put_member(self, name: str, number: int, member: int, value: Any) -> None:
        """State one row's part of a group; None takes it back."""
        group: Mapping[int, Any] = self._facts[name].get(number, _NOTHING)
        if group.get(member) == value:
            return
        changed = dict(group)
        if value is None:
            del changed[member]
        else:
            changed[member] = value
        self.put(name, number, changed or None)

    def evaluate(self, most: int | None = None) -> dict[FactKey, Objects]:
        """The objects of the rows that may have changed since the last time; of ``most`` of them, the oldest first."""
        stale = list(itertools.islice(self._stale, most))
        for cell in stale:
            del self._stale[cell]
        return {cell: self._evaluate(cell) for cell in stale}

    def _changed(self, name: str, number: int) -> None:
        key = (name, number)
        if name in self._formulas:
            self._stale[key] = None
        for cell in self._readers.get(key, ()):
            self._stale[cell] = None

    def _evaluate(self, cell: FactKey) -> Objects:
        if cell[1] not in self._facts[cell[0]]:
            self._note(cell, set())
            return ()
        look = Look(self._facts)
        objects = self._formulas[cell[0]](look, cell[1])
        self._note(cell, look.seen)
        return objects

    def _note(self, cell: FactKey, seen: set[FactKey]) -> None:
        before = self._looks.get(cell, set())
        if seen == before:
            return
        for key in before - seen:
            readers = self._readers[key]
            readers.discard(cell)
            if not readers:
                del self._readers[key]
        for key in seen - before:
            self._readers.setdefault(key, set()).add(cell)
        if seen:
            self._looks[cell] = seen
        else:
            self._looks.pop(cell, None)
