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
    level: dict[str, int] = {}
    remaining = dict(required)
    while remaining:
        ready = [name for name, needs in remaining.items() if all(need in level for need in needs)]
        assert ready, "dependencies() leaves no circles"
        current = max(level.values(), default=-1) + 1
        for name in ready:
            level[name] = current
            del remaining[name]
    count = max(level.values(), default=-1) + 1
    return tuple(tuple(name for name, at in level.items() if at == wave) for wave in range(count))


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
        path: dict[str, list[str]] = {root: list(wanted[root])}
        result[root] = []
        while path:
            name = next(reversed(path))
            if not path[name]:
                del path[name]
                finished.add(name)
                continue
            target = path[name].pop(0)
            if target in path:
                continue
            result[name].append(target)
            if target not in finished:
                path[target] = list(wanted[target])
                result[target] = []
    return {name: tuple(result[name]) for name in wanted}
