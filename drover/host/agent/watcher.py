"""List-and-watch of the Docker engine.

One event stream, resumed where it broke (`since`), plus a full list at every (re)connect: what was lost while
the stream was down shows as a difference between the list and the index. Events go, in order, to the index, the
image cache, and to whoever reports them; nothing here waits for a network call, so a killed container is known
within milliseconds.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import structlog
from aiodocker.exceptions import DockerError

from drover.common.backoff import Backoff
from drover.host.agent.engine import Engine
from drover.host.agent.images import Images
from drover.host.agent.index import ContainerEntry, ContainerIndex, from_list

log = structlog.get_logger(__name__)

# Named one by one: health checks and shells of busy hosts make many more events that say nothing here.
FOLLOWED = (
    *("create", "start", "die", "stop", "destroy", "rename"),
    *("pull", "tag", "untag", "import", "load", "delete", "prune"),
)
FILTERS = msgspec.json.encode({"type": ["container", "image"], "event": FOLLOWED}).decode()
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)$")
REPORTED = frozenset({"start", "stop", "die", "destroy"})


@dataclass(frozen=True, slots=True)
class ContainerChange:
    """Something that happened to a container. `time` in seconds since the epoch."""

    action: str
    id: str
    image: str
    time: int
    labels: Mapping[str, str]


Listener = Callable[[ContainerChange], None]


class Watcher:
    """Follows one engine. `run()` never returns; `ready` is set once the first list was read."""

    def __init__(self, engine: Engine, index: ContainerIndex, images: Images, listener: Listener) -> None:
        self._engine = engine
        self._index = index
        self._images = images
        self._listener = listener
        self._since = ""
        self.ready = asyncio.Event()
        self.current = False
        """Whether the index follows the engine right now; else it shows the past."""
        self._images_stale = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._refresh_images(), name="image-cache")
            await self._watch()

    async def _watch(self) -> None:
        backoff = Backoff(initial=0.1, maximum=5.0)
        while True:
            try:
                await self._follow(backoff)
                reason = "stream ended"
            except DockerError as error:
                reason = error.message
            finally:
                self.current = False
            delay = backoff.next_delay()
            log.warning("docker.events.lost", reason=reason, retry_in=round(delay, 2))
            await asyncio.sleep(delay)

    async def _follow(self, backoff: Backoff) -> None:
        if not self._since:
            # The engine's clock, not ours: the stream must start before the list that it complements.
            self._since = _engine_time(str((await self._engine.info()).get("SystemTime") or ""))
        await self._list()
        backoff.reset()
        params = {"filters": FILTERS} | ({"since": self._since} if self._since else {})
        async for event in self._engine.events(params):
            self._since = _resume_point(event) or self._since
            self._apply(event)

    async def _list(self) -> None:
        """Reads everything and reports what changed since the index was last right."""
        listed = [from_list(row) for row in await self._engine.list_containers()]
        await self._images.refresh()
        changes = list(_differences(self._index, listed)) if self.ready.is_set() else []
        self._index.replace_all(listed)
        self.current = True
        self.ready.set()
        for change in changes:
            self._listener(change)

    async def _refresh_images(self) -> None:
        """Beside the event stream: a clean-up of many images must not hold back the news of a container."""
        while True:
            await self._images_stale.wait()
            self._images_stale.clear()
            try:
                await self._images.refresh()
            except DockerError as error:
                # The stream will break as well, and its next start reads the list.
                log.debug("docker.images.unread", reason=error.message)

    def _apply(self, event: Mapping[str, Any]) -> None:
        if event.get("Type") == "image":
            if self._images.apply(event):
                self._images_stale.set()
            return
        self._index.apply(event)
        action = str(event.get("Action") or "")
        if action not in REPORTED:
            return
        actor = event.get("Actor") or {}
        attributes: dict[str, str] = actor.get("Attributes") or {}
        self._listener(
            ContainerChange(
                action=action,
                id=str(actor.get("ID") or ""),
                image=attributes.get("image", ""),
                time=int(event.get("time") or 0),
                labels=attributes,
            )
        )


def _engine_time(timestamp: str) -> str:
    """The engine's `SystemTime` (RFC 3339, nanoseconds) as whole seconds: early is fine, late is not."""
    match = _TIMESTAMP.match(timestamp)
    if match is None:
        return ""
    zone = match.group(2).replace("Z", "+00:00")
    return str(int(datetime.fromisoformat(match.group(1) + zone).timestamp()))


def _resume_point(event: Mapping[str, Any]) -> str:
    """One nanosecond after this event, as the engine wants it: seconds, dot, nine digits."""
    moment = int(event.get("timeNano") or 0)
    if not moment:
        return ""
    seconds, nanos = divmod(moment + 1, 1_000_000_000)
    return f"{seconds}.{nanos:09d}"


def _differences(index: ContainerIndex, listed: list[ContainerEntry]) -> list[ContainerChange]:
    """What must have happened between the index and the list."""
    changes: list[ContainerChange] = []
    now = {entry.id: entry for entry in listed}
    for old in index:
        new = now.get(old.id)
        if new is None:
            changes.append(_change("destroy", old))
        elif old.running and not new.running:
            changes.append(_change("die", new))
        elif new.running and not old.running:
            changes.append(_change("start", new))
    changes += [_change("start", new) for new in listed if index.get(new.id) is None and new.running]
    return changes


def _change(action: str, entry: ContainerEntry) -> ContainerChange:
    return ContainerChange(action=action, id=entry.id, image=entry.image, time=entry.created, labels=entry.labels)
