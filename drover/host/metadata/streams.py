"""The world as a stream of frames for the other programs of the host.

Each stream knows how far it is. Whenever its connection can take more, it gets the changes since: normally the newest
line, after a pause several, and everything when the pause was longer than the memory. A slow reader costs the service
nothing but that. Tokens of services stay here: the programs that read along do not need them.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Protocol
from uuid import uuid4

import msgspec

from drover.client.world import Change, Delta, Full, Key, Object, Service, World, encode_frame

KEEPALIVE_SECONDS = 15.0
PER_ADDRESS = 16
IN_TOTAL = 256
_REMEMBERED = 512
_REMEMBERED_BYTES = 4 * 1024 * 1024


class Sink(Protocol):
    """The connection of a stream."""

    @property
    def client(self) -> str: ...

    @property
    def writable(self) -> bool:
        """Whether what was written before has mostly left."""

    def write_line(self, line: bytes) -> None: ...


class TooManyStreams(Exception):
    """The limit of streams is reached; the text says which."""


class Streams:
    """All open streams. The numbering is this program's own, so that it goes on when the server is replaced."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._epoch = uuid4().hex
        self._revision = 0
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._open: dict[Sink, int] = {}
        self._addresses: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, sink: Sink, epoch: str, revision: int) -> None:
        """Take a stream in that goes on where a former one with this epoch and revision ended; `resume` begins it.

        Raises TooManyStreams.
        """
        if self._addresses[sink.client] >= PER_ADDRESS:
            raise TooManyStreams(f"{sink.client} has {PER_ADDRESS} streams already")
        if len(self._open) >= IN_TOTAL:
            raise TooManyStreams(f"{IN_TOTAL} streams are open already")
        known = epoch == self._epoch and 0 <= revision <= self._revision
        self._addresses[sink.client] += 1
        self._open[sink] = revision if known else -1

    def close(self, sink: Sink) -> None:
        if self._open.pop(sink, None) is not None:
            self._addresses[sink.client] -= 1
            if not self._addresses[sink.client]:
                del self._addresses[sink.client]

    def apply(self, delta: Delta) -> None:
        """Remember a change of the world and pass it on."""
        self._revision += 1
        line = encode_frame(self._change(delta))
        self._lines.append(line)
        self._size += len(line)
        while len(self._lines) > _REMEMBERED or self._size > _REMEMBERED_BYTES:
            self._size -= len(self._lines.popleft())
        for sink in list(self._open):
            self.resume(sink)

    def resume(self, sink: Sink) -> None:
        """Bring a stream up to date if its connection can take it."""
        if not self._world.loaded or not sink.writable or sink not in self._open:
            return
        missing = self._revision - self._open[sink]
        if missing == 0:
            return
        if self._open[sink] < 0 or missing > len(self._lines):
            sink.write_line(encode_frame(self._full()))
        else:
            newest = list(self._lines)[-missing:]
            sink.write_line(b"\n".join(newest))
        self._open[sink] = self._revision

    def keep_alive(self) -> None:
        """A blank line for everybody, so that both ends notice a connection that is gone."""
        for sink in list(self._open):
            if sink.writable:
                sink.write_line(b"")

    def _full(self) -> Full:
        objects = tuple(_without_token(each) for each in self._world.objects())
        return Full(epoch=self._epoch, revision=self._revision, objects=objects, host=self._world.host)

    def _change(self, delta: Delta) -> Change:
        present = [after for _, after in delta.changes.values() if after is not None]
        return Change(
            epoch=self._epoch,
            since=self._revision - 1,
            revision=self._revision,
            changed=tuple(_without_token(each) for each in present),
            gone=tuple(Key(*key) for key, (_, after) in delta.changes.items() if after is None),
            host=self._world.host if delta.host_changed else None,
        )


def _without_token(each: Object) -> Object:
    if isinstance(each, Service) and each.token is not None:
        return msgspec.structs.replace(each, token=None)
    return each
