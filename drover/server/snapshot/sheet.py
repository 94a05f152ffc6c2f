"""Objects kept current like the cells of a spreadsheet: facts go in, and only what read a changed fact is made anew.

A fact is the little that matters of a database row, under the name of its type and its number. A formula makes the
objects that one row stands for, out of facts that it looks up; what it looked up is remembered. Which rows affect
which objects is therefore nowhere written down, and cannot be forgotten when a formula reads one more fact.
"""

from __future__ import annotations

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

    def __init__(self, facts: Mapping[FactKey, Any]) -> None:
        self._facts = facts
        self.seen: set[FactKey] = set()

    def fact(self, name: str, number: int | None) -> Any:
        """The fact, or None."""
        if number is None:
            return None
        key = (name, number)
        self.seen.add(key)
        return self._facts.get(key)

    def group(self, name: str, number: int) -> Mapping[int, Any]:
        """The facts of many rows about one thing, by the number of the row."""
        key = (name, number)
        self.seen.add(key)
        found: Mapping[int, Any] = self._facts.get(key, _NOTHING)
        return found


class Sheet:
    """Facts, formulas by the name of the fact that they are about, and what awaits evaluation."""

    def __init__(self, formulas: Mapping[str, Formula]) -> None:
        self._formulas = formulas
        self._facts: dict[FactKey, Any] = {}
        self._looks: dict[FactKey, set[FactKey]] = {}
        self._readers: dict[FactKey, set[FactKey]] = {}
        self._stale: dict[FactKey, None] = {}

    @property
    def stale(self) -> bool:
        return bool(self._stale)

    def fact(self, name: str, number: int | None) -> Any:
        return None if number is None else self._facts.get((name, number))

    def put(self, name: str, number: int, value: Any) -> None:
        """State a fact; None takes it back. Nothing happens when it was known already."""
        key = (name, number)
        if self._facts.get(key) == value:
            return
        if value is None:
            del self._facts[key]
        else:
            self._facts[key] = value
        self._changed(key)

    def put_member(self, name: str, number: int, member: int, value: Any) -> None:
        """State one row's part of a group; None takes it back."""
        key = (name, number)
        group: Mapping[int, Any] = self._facts.get(key, _NOTHING)
        if group.get(member) == value:
            return
        changed = dict(group)
        if value is None:
            del changed[member]
        else:
            changed[member] = value
        if changed:
            self._facts[key] = changed
        else:
            del self._facts[key]
        self._changed(key)

    def evaluate(self) -> dict[FactKey, Objects]:
        """The objects of every row that may have changed since the last time."""
        stale, self._stale = self._stale, {}
        return {cell: self._evaluate(cell) for cell in stale}

    def _changed(self, key: FactKey) -> None:
        if key[0] in self._formulas:
            self._stale[key] = None
        for cell in self._readers.get(key, ()):
            self._stale[cell] = None

    def _evaluate(self, cell: FactKey) -> Objects:
        if cell not in self._facts:
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
