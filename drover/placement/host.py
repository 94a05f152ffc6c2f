"""A host with what runs on it, kept as counters so that every question costs the same on an empty and a full host."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from drover.placement.container import ANY_ADDRESS, Container, HostPort

ADDRESSES_LABEL = "io.rancher.scheduler.ips"
REQUIRE_ANY_LABEL = "io.rancher.scheduler.require_any"


class Host:
    """A host and its usage. ``memory`` (bytes) and ``milli_cpu`` of None mean that nobody reported a limit.

    ``accepts`` is false while the host must not get new containers (inactive, or its agent is not connected).
    """

    __slots__ = (
        "_groups",
        "_labels",
        "_names",
        "_ports",
        "accepts",
        "addresses",
        "containers",
        "id",
        "labels",
        "memory",
        "milli_cpu",
        "name",
        "require_any",
        "state",
        "used_memory",
        "used_milli_cpu",
        "uuid",
    )

    def __init__(self, host_id: int, *, name: str = "", uuid: str = "") -> None:
        self.id = host_id
        self.uuid = uuid
        self.name = name or str(host_id)
        self.accepts = True
        self.state = "active"
        self.memory: int | None = None
        self.milli_cpu: int | None = None
        self.used_memory = 0
        self.used_milli_cpu = 0
        self.labels: dict[str, str] = {}
        self.addresses: tuple[str, ...] = ()
        self.require_any: tuple[tuple[str, str | None], ...] = ()
        self.containers: dict[int, Container] = {}
        self._groups: Counter[int] = Counter()
        self._labels: Counter[tuple[str, str]] = Counter()
        self._names: Counter[str] = Counter()
        self._ports: dict[tuple[str, int], list[tuple[str, Container]]] = defaultdict(list)

    # What the host is

    def describe(
        self,
        *,
        labels: Mapping[str, Any] | None = None,
        memory: int | None = None,
        milli_cpu: int | None = None,
    ) -> None:
        """Take over what the host reports; its usage stays."""
        self.memory, self.milli_cpu = memory, milli_cpu
        self.labels = {key.lower(): str(value).lower() for key, value in (labels or {}).items()}
        self.addresses = tuple(_items(self.labels.get(ADDRESSES_LABEL)))
        wanted = (item.partition("=") for item in _items(self.labels.get(REQUIRE_ANY_LABEL)))
        self.require_any = tuple((key, value if equals else None) for key, equals, value in wanted)

    # What runs on it

    def put(self, container: Container) -> None:
        """Count a container, or count it anew with what changed."""
        self.take(container.id)
        self.containers[container.id] = container
        self.used_memory += container.memory
        self.used_milli_cpu += container.milli_cpu
        if container.group is not None:
            self._groups[container.group] += 1
        if container.visible:
            self._labels.update(container.labels)
        self._names.update(_names(container))
        if container.holds_ports:
            for port in container.ports:
                if port.public:
                    self._ports[port.protocol, port.public].append((port.address, container))

    def take(self, container_id: int) -> None:
        """Stop counting a container; nothing happens if it is not here."""
        container = self.containers.pop(container_id, None)
        if container is None:
            return
        self.used_memory -= container.memory
        self.used_milli_cpu -= container.milli_cpu
        if container.group is not None:
            _subtract(self._groups, [container.group])
        if container.visible:
            _subtract(self._labels, container.labels)
        _subtract(self._names, _names(container))
        if container.holds_ports:
            for port in container.ports:
                self._free(port, container)

    def _free(self, port: HostPort, container: Container) -> None:
        key = (port.protocol, port.public)
        left = [entry for entry in self._ports.get(key, ()) if entry[1].id != container.id]
        if left:
            self._ports[key] = left
        else:
            self._ports.pop(key, None)

    # Questions

    def members(self, group: int | None) -> int:
        return 0 if group is None else self._groups[group]

    def has_label(self, key: str, value: str) -> bool:
        return (key, value) in self._labels

    def has_container(self, name_or_uuid: str) -> bool:
        return name_or_uuid in self._names

    def port_holder(self, port: HostPort, *, but: frozenset[int] = frozenset()) -> Container | None:
        """Who publishes a colliding port; containers in ``but`` (a restart of their own) do not count."""
        if not port.public:
            return None
        for address, container in self._ports.get((port.protocol, port.public), ()):
            same = address == port.address or ANY_ADDRESS in (address, port.address)
            if same and container.id not in but:
                return container
        return None


def _names(container: Container) -> list[str]:
    return [text.lower() for text in (container.name, container.uuid) if text]


def _subtract(counter: Counter[Any], keys: Any) -> None:
    for key in keys:
        counter[key] -= 1
        if counter[key] <= 0:
            del counter[key]


def _items(text: str | None) -> list[str]:
    return [item.strip() for item in (text or "").split(",") if item.strip()]
