"""The frames of one environment, encoded once for all who follow it.

Recent changes are kept in a ring. A follower has no queue here: it has a position in the ring, reads on from there at
its own pace, and gets everything anew when it has fallen out of the ring. So a slow follower costs nothing, and one
that reconnects goes on where it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import NamedTuple

import msgspec

from drover.client.world import Change, Full, Key, Object, encode_frame

_NO_HOST = b'"host":null}'


class _Entry(NamedTuple):
    since: int
    revision: int
    text: str


class Frames:
    """The numbering, the ring and the encoded whole. ``epoch`` is unique to this object."""

    def __init__(self, epoch: str, revision: int, *, most_frames: int = 512, most_bytes: int = 4 << 20) -> None:
        self.epoch = epoch
        self.revision = revision
        self._most_frames = most_frames
        self._most_bytes = most_bytes
        self._ring: deque[_Entry] = deque()
        self._bytes = 0
        self._whole: tuple[int, str] | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing was ever said of these objects."""
        return not self._ring and self._whole is None

    @property
    def oldest(self) -> int:
        """The first revision from which a follower can go on."""
        return self._ring[0].since if self._ring else self.revision

    def add(self, revision: int, changed: Collection[Object], gone: Collection[Key]) -> None:
        """Append a change. ``revision`` must be greater than the last."""
        change = Change(self.epoch, self.revision, revision, tuple(changed), tuple(gone))
        text = encode_frame(change).decode()
        self._ring.append(_Entry(self.revision, revision, text))
        self._bytes += len(text)
        self.revision = revision
        while len(self._ring) > 1 and (len(self._ring) > self._most_frames or self._bytes > self._most_bytes):
            self._bytes -= len(self._ring.popleft().text)

    def since(self, revision: int) -> list[str]:
        """The frames that lead from ``revision`` to the present one. Ask only while ``knows(revision)``."""
        found: list[str] = []
        for entry in reversed(self._ring):
            if entry.revision <= revision:
                break
            found.append(entry.text)
        found.reverse()
        return found

    def knows(self, revision: int) -> bool:
        """Whether somebody who is at this revision can be told the changes since."""
        return self.oldest <= revision <= self.revision and (
            revision == self.revision or any(entry.since == revision for entry in self._ring)
        )

    def whole(self, objects: Collection[Object], host: str | None) -> tuple[int, str]:
        """A full frame for the follower on ``host`` and the revision that it is of, from where it goes on by changes.

        ``objects`` are those of the present revision. An older whole is used as long as the ring leads on from it.
        """
        if self._whole is None or not self.knows(self._whole[0]):
            encoded = encode_frame(Full(self.epoch, self.revision, tuple(objects)))
            if not encoded.endswith(_NO_HOST):
                raise AssertionError("the host must be the last field of a full frame")
            self._whole = self.revision, encoded.removesuffix(_NO_HOST).decode()
        revision, text = self._whole
        return revision, f'{text}"host":{msgspec.json.encode(host).decode()}}}'

    def greeting(self, revision: int, host: str | None) -> str:
        """What a follower that goes on from ``revision`` gets first: nothing new, but which host it is on."""
        return encode_frame(Change(self.epoch, revision, revision, host=host)).decode()

    def forget_whole(self) -> None:
        self._whole = None
