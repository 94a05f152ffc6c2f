"""What runs on this engine, in memory.

Kept by list-and-watch: a full list now and then, the engine's events in between. It answers "does this
container exist?" without a call, so a start costs create + start + inspect and no search. The index is a hint:
whoever acts on an entry inspects the container next, and a create that meets an unknown container fails with a
name conflict. A stale entry therefore costs a call, never correctness.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from drover.host.agent.parameters.names import LABEL_UUID
from drover.host.agent.payload import Instance

AGENT_CONTAINER = "rancher-agent"


@dataclass(frozen=True, slots=True)
class ContainerEntry:
    """One container of the engine. `created` in seconds since the epoch."""

    id: str
    name: str
    image: str
    running: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    created: int = 0
    started_once: bool = True
    """False for a container that was created and never started."""

    @property
    def uuid(self) -> str:
        """The instance's uuid; for a container that somebody else made, its name."""
        return self.labels.get(LABEL_UUID) or self.name or f"no-uuid-{self.id}"


class ContainerIndex:
    """All containers of the engine, by id, by name and by instance uuid."""

    def __init__(self) -> None:
        self._entries: dict[str, ContainerEntry] = {}
        self._by_uuid: dict[str, str] = {}
        self._by_name: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[ContainerEntry]:
        return iter(list(self._entries.values()))

    def get(self, container: str) -> ContainerEntry | None:
        return self._entries.get(container)

    def resolve(self, name: str) -> str:
        """Docker id for an instance's uuid; what is not one is taken for a Docker id."""
        return self._by_uuid.get(name, name)

    def find(self, instance: Instance) -> ContainerEntry | None:
        """The instance's container: by its label, else by its Docker id, and while that is not known, by its name.

        The uuid of a container that somebody else made is its name. Names are given again: whoever replaces such a
        container by another one of that name must not find the new one removed in place of the old.
        """
        uuid = instance.uuid or ""
        container = self._by_uuid.get(uuid) or instance.external_id or self._by_name.get(uuid, "")
        return self._entries.get(container)

    def replace_all(self, entries: Iterable[ContainerEntry]) -> None:
        """A full list: what it does not name is gone."""
        self._entries.clear()
        self._by_uuid.clear()
        self._by_name.clear()
        for entry in entries:
            self.put(entry)

    def put(self, entry: ContainerEntry) -> None:
        self.drop(entry.id)
        self._entries[entry.id] = entry
        self._by_name[entry.name] = entry.id
        if uuid := entry.labels.get(LABEL_UUID):
            self._by_uuid[uuid] = entry.id

    def drop(self, container: str) -> None:
        entry = self._entries.pop(container, None)
        if entry is None:
            return
        if self._by_name.get(entry.name) == container:
            del self._by_name[entry.name]
        uuid = entry.labels.get(LABEL_UUID, "")
        if self._by_uuid.get(uuid) == container:
            del self._by_uuid[uuid]

    def mark_running(self, container: str, running: bool) -> None:
        entry = self._entries.get(container)
        if entry is not None:
            self._entries[container] = replace(entry, running=running, started_once=entry.started_once or running)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Follows one container event of the engine."""
        actor = event.get("Actor") or {}
        container = str(actor.get("ID") or event.get("id") or "")
        attributes: dict[str, str] = actor.get("Attributes") or {}
        match event.get("Action") or event.get("status"):
            case "create":
                self.put(_from_event(container, attributes, created=int(event.get("time") or 0)))
            case "start":
                if container not in self._entries:
                    self.put(_from_event(container, attributes, created=int(event.get("time") or 0)))
                self.mark_running(container, True)
            case "die":
                self.mark_running(container, False)
            case "destroy":
                self.drop(container)
            case "rename":
                if (entry := self._entries.get(container)) is not None:
                    self.put(replace(entry, name=attributes.get("name", entry.name).lstrip("/")))
            case _:
                pass


def from_list(row: Mapping[str, Any]) -> ContainerEntry:
    """An element of `GET /containers/json`."""
    names = row.get("Names") or [""]
    state = str(row.get("State") or "").lower()
    status = str(row.get("Status") or "")
    return ContainerEntry(
        id=str(row["Id"]),
        name=str(names[0]).lstrip("/"),
        image=str(row.get("Image") or ""),
        # `Up` covers paused containers too: their processes exist.
        running=state in ("running", "paused", "restarting") if state else "Up" in status,
        labels=row.get("Labels") or {},
        created=int(row.get("Created") or 0),
        started_once=state != "created" and status not in ("", "Created"),
    )


def _from_event(container: str, attributes: Mapping[str, str], *, created: int) -> ContainerEntry:
    # The engine mixes labels and its own attributes; its own names carry no dot and do no harm as labels.
    return ContainerEntry(
        id=container,
        name=attributes.get("name", "").lstrip("/"),
        image=attributes.get("image", ""),
        running=False,
        labels={key: value for key, value in attributes.items() if key not in _EVENT_ATTRIBUTES},
        created=created,
        started_once=False,
    )


_EVENT_ATTRIBUTES = frozenset({"name", "image", "exitCode", "signal", "execID", "oldName"})
