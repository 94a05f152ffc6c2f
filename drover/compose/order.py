"""Which service must exist before which.

Rancher 1.6 honoured `depends_on` only for sidekicks; here it counts for all services, next to links and the targets of
balancers. Circles are legal (two services may link each other), so the order is found by leaving out, of each circle,
the edge that closes it: all services are created first and linked afterwards anyway.
"""

from collections.abc import Mapping

from drover.compose.model import ComposeProject, Service


def dependencies(project: ComposeProject) -> dict[str, tuple[str, ...]]:
    """For each primary the primaries it needs, those of its sidekicks included; without circles."""
    wanted = {service.name: _wanted(service, project) for service in project.primaries}
    return _without_circles(wanted)


def waves(required: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Services in groups: all of a group may start at once when the groups before it have started."""
    missing = {name: len(needs) for name, needs in required.items()}
    dependents: dict[str, list[str]] = {name: [] for name in required}
    for name, needs in required.items():
        for need in needs:
            dependents[need].append(name)
    found: list[tuple[str, ...]] = []
    ready = [name for name, count in missing.items() if count == 0]
    while ready:
        found.append(tuple(ready))
        following: list[str] = []
        for name in ready:
            for dependent in dependents[name]:
                missing[dependent] -= 1
                if missing[dependent] == 0:
                    following.append(dependent)
        ready = following
    return tuple(found)


def _wanted(service: Service, project: ComposeProject) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for member in (service, *project.sidekicks_of(service.name)):
        for target in _targets(member, project.name):
            primary = project.primary_of.get(target, target)
            if primary in project.services and primary != service.name:
                names[primary] = None
    return tuple(names)


def _targets(service: Service, stack: str) -> list[str]:
    found = [link.split(":")[0] for link in (*(service.links or ()), *(service.external_links or ()))]
    found += list(service.depends_on or ())
    rules = service.lb_config.port_rules if service.lb_config else None
    found += [rule.service for rule in rules or () if rule.service]
    return [name.removeprefix(f"{stack}/") for name in found]


def _without_circles(wanted: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Depth-first walk with a stack of its own; an edge back into the open path is the one that closes a circle."""
    result: dict[str, list[str]] = {}
    finished: set[str] = set()
    for root in wanted:
        if root in finished:
            continue
        path: dict[str, list[str]] = {root: list(reversed(wanted[root]))}
        result[root] = []
        while path:
            name = next(reversed(path))
            if not path[name]:
                del path[name]
                finished.add(name)
                continue
            target = path[name].pop()
            if target in path:
                continue
            result[name].append(target)
            if target not in finished:
                path[target] = list(reversed(wanted[target]))
                result[target] = []
    return {name: tuple(result[name]) for name in wanted}
