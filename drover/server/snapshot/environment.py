"""One environment's objects, and the frames that tell of them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from drover.client.world import Key, Object
from drover.client.world.world import kind_of
from drover.common.clock import now_ms
from drover.server.snapshot.facts import ServiceName
from drover.server.snapshot.formulas import formulas
from drover.server.snapshot.frames import Frames, Whole
from drover.server.snapshot.sheet import FactKey, Sheet

_WHOLE_SECONDS = 30.0


@dataclass(slots=True)
class Difference:
    """What is new or other, and what is gone."""

    changed: dict[Key, Object] = field(default_factory=dict)
    gone: list[Key] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.changed or self.gone)


class Environment:
    """The objects of an environment: its own, and those of other environments that it is linked to.

    Revisions grow with every change, and continue to grow when the server starts anew, because they are never behind
    the clock (milliseconds).
    """

    def __init__(self, account_id: int) -> None:
        self.account_id = account_id
        self.sheet = Sheet(formulas(account_id))
        self.frames = Frames(uuid.uuid4().hex, now_ms())
        self.own: dict[Key, Object] = {}
        self.foreign: Mapping[Key, Object] = {}
        self._named: set[int] = set()
        self._keys: dict[FactKey, tuple[Key, ...]] = {}
        self._changed = asyncio.Event()
        self._whole_expiry: asyncio.TimerHandle | None = None

    @property
    def revision(self) -> int:
        return self.frames.revision

    def objects(self) -> Collection[Object]:
        return [*self.own.values(), *(each for key, each in self.foreign.items() if key not in self.own)]

    def whole(self) -> Whole:
        """Everything, encoded; kept for a while, because whoever lost its connection is seldom alone."""
        if self._whole_expiry is not None:
            self._whole_expiry.cancel()
        self._whole_expiry = asyncio.get_running_loop().call_later(_WHOLE_SECONDS, self.frames.forget_whole)
        return self.frames.whole(self.objects)

    def objects_of(self, cells: Iterable[FactKey]) -> dict[Key, Object]:
        """The objects that rows stand for."""
        return {key: self.own[key] for cell in cells for key in self._keys.get(cell, ()) if key in self.own}

    def settle(self, most: int | None = None) -> Difference:
        """Evaluate what changed, or ``most`` rows of it. What comes out as it was is no difference."""
        difference = Difference()
        for cell, objects in self.sheet.evaluate(most).items():
            keys = []
            for each in objects:
                key = Key(kind_of(each), each.key)
                keys.append(key)
                if self.own.get(key) != each:
                    self.own[key] = each
                    difference.changed[key] = each
            for key in self._keys.get(cell, ()):
                if key not in keys and self.own.pop(key, None) is not None:
                    difference.gone.append(key)
            if keys:
                self._keys[cell] = tuple(keys)
            else:
                self._keys.pop(cell, None)
        return difference

    def name_foreign(self, names: Mapping[int, ServiceName]) -> None:
        """Know the services of other environments that are consumed here by these names, and no longer any others."""
        for number in self._named - names.keys():
            self.sheet.put("serviceName", number, None)
        for number, name in names.items():
            self.sheet.put("serviceName", number, name)
        self._named = set(names)

    def settle_foreign(self, present: Mapping[Key, Object]) -> Difference:
        """Take over the objects of other environments as they are now."""
        before, self.foreign = self.foreign, present
        difference = Difference()
        for key, each in present.items():
            if before.get(key) != each and key not in self.own:
                difference.changed[key] = each
        difference.gone.extend(key for key in before if key not in present and key not in self.own)
        return difference

    def publish(self, difference: Difference) -> None:
        """Number a difference, encode it, and wake those who follow."""
        revision = max(self.revision + 1, now_ms())
        self.frames.add(revision, difference.changed.values(), difference.gone)
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()

    async def wait(self, revision: int) -> None:
        """Return when there is something newer than ``revision``."""
        while self.revision <= revision:
            await self._changed.wait()
