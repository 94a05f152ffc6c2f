"""What one client may see: the shared records, overlaid with its own, and the replies made from them so far.

Containers with the same links, search list and name servers share a view, so there are about as many as services.
A view keeps finished replies by the bytes of the question. Each remembers the names that were looked up for it, found
or not; when one of these names changes, exactly these replies are forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from drover.host.dns.records import ZONE, Answer

MAX_REPLIES = 20_000
"""Of all views together; a finished reply with what belongs to it takes about a kilobyte."""
Key = bytes
"""A query without its first two bytes, the id."""


class View:
    """``search`` are names with a dot at the end, ``upstreams`` addresses that this client's questions go to first."""

    __slots__ = ("_asked", "_used_by", "records", "replies", "search", "shared", "upstreams")

    def __init__(
        self,
        shared: Shared,
        *,
        search: tuple[str, ...] = (ZONE,),
        upstreams: tuple[str, ...] = (),
        records: Mapping[str, Answer] | None = None,
    ) -> None:
        self.shared = shared
        self.search = search
        self.upstreams = upstreams
        self.records: dict[str, Answer] = dict(records or {})
        self.replies: dict[Key, Iterator[bytes]] = {}
        self._asked: dict[Key, tuple[str, ...]] = {}
        self._used_by: dict[str, set[Key]] = {}

    def set(self, name: str, answer: Answer | None) -> bool:
        """Give one of the client's own names another meaning, or none. Returns whether that is news."""
        if not _put(self.records, name, answer):
            return False
        self.forget(name)
        return True

    def find(self, name: str, *, suffixed: bool) -> tuple[Answer | None, tuple[str, ...]]:
        """What a name means here, and the names that were looked up until that was known.

        Rancher 1.6's order: the client's own records, exactly and then with each suffix of its search list; the
        shared ones in the same way; last the shared ones below the zone. ``suffixed`` false: only exactly.
        """
        names = (name, *(name + each for each in self.search)) if suffixed else (name,)
        for each in names:
            if (found := self.records.get(each)) is not None:
                return found, names
        shared = self.shared.records
        for each in names:
            if (found := shared.get(each)) is not None:
                return found, names
        if not suffixed or ZONE in self.search:
            return None, names
        last = name + ZONE
        return shared.get(last), (*names, last)

    def keep(self, key: Key, reply: Iterator[bytes], names: tuple[str, ...]) -> None:
        """Answer the same bytes with the same reply until one of the names changes."""
        if self.shared.kept >= MAX_REPLIES:
            fullest = max(self.shared.views, key=lambda each: len(each.replies))
            (self if self.replies else fullest)._drop_oldest()
        self.shared.kept += 1
        self.replies[key] = reply
        self._asked[key] = names
        for name in names:
            self._used_by.setdefault(name, set()).add(key)

    def forget(self, name: str) -> None:
        for key in tuple(self._used_by.get(name, ())):
            self._drop(key)

    def leave(self) -> None:
        """Nobody has this view any more."""
        self.shared.views.discard(self)
        self.shared.kept -= len(self.replies)

    def _drop_oldest(self) -> None:
        self._drop(next(iter(self.replies)))

    def _drop(self, key: Key) -> None:
        del self.replies[key]
        self.shared.kept -= 1
        for name in self._asked.pop(key):
            users = self._used_by[name]
            users.discard(key)
            if not users:
                del self._used_by[name]


class Shared:
    """The records that everybody on the host sees, and the views laid over them, by address of the client.

    ``changed`` is set with every difference; whoever writes the records down clears it. ``serial`` grows with it.
    ``kept`` counts the finished replies of all views.
    """

    def __init__(self, *, upstreams: tuple[str, ...] = (), serial: int = 1) -> None:
        self.records: dict[str, Answer] = {}
        self.clients: dict[str, View] = {}
        self.default = View(self, upstreams=upstreams)
        self.views: set[View] = {self.default}
        self.serial = serial
        self.kept = 0
        self.changed = asyncio.Event()

    def set(self, name: str, answer: Answer | None) -> bool:
        if not _put(self.records, name, answer):
            return False
        for view in self.views:
            view.forget(name)
        return True

    def differs(self) -> None:
        """Something changed that was or will be shown."""
        self.serial += 1
        self.changed.set()


def _put(records: dict[str, Answer], name: str, answer: Answer | None) -> bool:
    if not answer:
        return records.pop(name, None) is not None
    if records.get(name) == answer:
        return False
    records[name] = answer
    return True
