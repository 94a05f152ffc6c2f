"""The declarations as one book to look things up in: by exact name, by what a URL says, by ancestry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from drover.server.resources.model import Process, Resource


class Catalog:
    """All declared types of one API version and the processes that move them."""

    def __init__(
        self,
        resources: Iterable[Resource],
        processes: Iterable[Process] = (),
        auto_activated: Iterable[str] = (),
    ) -> None:
        self.resources: Mapping[str, Resource] = MappingProxyType({item.name: item for item in resources})
        self.processes: Mapping[str, Process] = MappingProxyType({item.name: item for item in processes})
        self._auto_activated = frozenset(auto_activated)
        self._spellings = {item.plural.lower(): item for item in self.resources.values()}
        self._spellings.update({item.name.lower(): item for item in self.resources.values()})
        self._children: dict[str, list[str]] = defaultdict(list)
        for item in self.resources.values():
            if item.parent:
                self._children[item.parent].append(item.name)
        by_type: dict[str, list[Process]] = defaultdict(list)
        for process in self.processes.values():
            by_type[process.resource_type].append(process)
        self._by_type = {name: tuple(found) for name, found in by_type.items()}

    def resource(self, name: str) -> Resource:
        """The type of exactly this name; ``KeyError`` when none is declared."""
        try:
            return self.resources[name]
        except KeyError:
            raise KeyError(f"no resource type {name!r} is declared in drover.server.resources") from None

    def find(self, text: str) -> Resource | None:
        """The type that a URL means: singular or plural, in any case."""
        return self._spellings.get(text.lower())

    def children(self, name: str) -> tuple[str, ...]:
        """The types declared directly below this one, by name."""
        return tuple(sorted(self._children.get(name, ())))

    def base(self, name: str) -> Resource:
        """The topmost ancestor: ``container`` -> ``instance``. Its name gives the id prefix and the table."""
        resource = self.resource(name)
        while resource.parent is not None:
            resource = self.resource(resource.parent)
        return resource

    def stored_base(self, name: str) -> str:
        """The type whose table keeps this one; ``LookupError`` for virtual and embedded types."""
        if not self.resource(name).stored:
            raise LookupError(f"{name} has no table: it is virtual, or kept as a field of another type")
        return self.base(name).name

    def process(self, name: str) -> Process:
        """The process of exactly this name, e.g. ``instance.start``."""
        try:
            return self.processes[name]
        except KeyError:
            raise KeyError(f"no process {name!r} is declared in drover.server.resources") from None

    def processes_of(self, base_type: str) -> tuple[Process, ...]:
        """The processes of a base type, in declaration order; empty for a type without a state machine."""
        return self._by_type.get(base_type, ())

    def transitioning_states(self, base_type: str, state_field: str = "state") -> frozenset[str]:
        """The states in which a resource of this type is on its way to another."""
        processes = (item for item in self.processes_of(base_type) if item.state_field == state_field)
        return frozenset().union(*(item.transitioning_states for item in processes))

    def auto_activates(self, base_type: str) -> bool:
        """Whether ``<type>.create`` goes on to ``<type>.activate`` unasked."""
        return base_type in self._auto_activated
