"""The rules of a balancer as they apply: selectors resolved, hosts read, names chosen, order defined.

The order within a frontend is that of Rancher 1.6 (priorities first, then from the most to the least specific), with
the ties that it left open decided: longer path, longer host, position in the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from drover.client.world import LbRule, Service
from drover.host.balancer.model import HostMatch, Protocol
from drover.host.balancer.targets import Targets, in_service
from drover.placement.selectors import SelectorError, parse_selector

SKIP_TARGET_RULES_LABEL = "io.rancher.lb_service.skip_target_lb_rules"

_HOST = re.compile(r"[A-Za-z0-9._-]{1,255}\Z")
_PATH = re.compile(r"/?[!-~]{0,1024}\Z")  # printable ASCII without blanks
_SEPARATORS = re.compile(r"[^A-Za-z0-9]+")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.:-]+")
_RESERVED = frozenset({"default"})  # the listener that answers health checks


class BadRule(Exception):
    """A rule that cannot be carried out; the others can."""


@dataclass(frozen=True, slots=True)
class Target:
    """A rule with exactly one service behind it."""

    service: Service
    source_port: int
    target_port: int
    protocol: Protocol
    host_match: HostMatch | None
    host: str
    path: str
    priority: int
    weight: int
    backend_name: str

    @property
    def group_key(self) -> tuple[HostMatch | None, str, str]:
        return self.host_match, self.host.lower(), self.path


@dataclass(slots=True)
class Group:
    """Rules of one frontend that match the same requests; the first one speaks for all."""

    position: int
    targets: list[Target] = field(default_factory=list)

    @property
    def first(self) -> Target:
        return self.targets[0]

    @property
    def order(self) -> tuple[int, int, int, int, int, int]:
        first = self.first
        return (
            0 if first.priority > 0 else 1,
            first.priority,
            _specificity(first),
            -len(first.path),
            -len(first.host),
            self.position,
        )


def _specificity(target: Target) -> int:
    if target.host_match is HostMatch.EXACT:
        return 0 if target.path else 1
    if target.host_match is not None:
        return 2 if target.path else 3
    return 4 if target.path else 5


def groups_of(targets: Iterable[Target]) -> list[Group]:
    """The groups of one frontend in the order in which they are tried."""
    groups: dict[object, Group] = {}
    for position, target in enumerate(targets):
        groups.setdefault(target.group_key, Group(position)).targets.append(target)
    return sorted(groups.values(), key=lambda group: group.order)


def targets_of(rule: LbRule, own: Service, targets: Targets) -> Iterator[Target]:
    """What a rule comes to: one target, one for each selected service, or nothing. Raises BadRule."""
    if not rule.source_port or rule.source_port < 1:
        return
    if rule.selector:
        yield from _selected(rule, own, targets)
        return
    service = targets.find(rule.service or "")
    if service is None:
        raise BadRule(f"the service {rule.service!r} of the rule for port {rule.source_port} does not exist")
    if in_service(service):
        yield _target(rule, service)


def _selected(rule: LbRule, own: Service, targets: Targets) -> Iterator[Target]:
    try:
        selector = parse_selector(rule.selector or "")
    except SelectorError as error:
        raise BadRule(f"the selector of the rule for port {rule.source_port}: {error}") from error
    for service in targets.candidates(region=rule.region, environment=rule.environment):
        if service.key == own.key or not in_service(service) or not selector.matches(service.labels):
            continue
        offered = _offered_rules(service)
        if offered:
            yield from (_target(_chosen(rule, each, own), service) for each in offered)
        elif rule.target_port:
            yield _target(rule, service)


def _offered_rules(service: Service) -> tuple[LbRule, ...]:
    return service.lb_config.port_rules if service.lb_config is not None else ()


def _chosen(rule: LbRule, offered: LbRule, own: Service) -> LbRule:
    """The rule that a selected service asks for. Another balancer is reached at the port it listens on."""
    plain = offered.source_port is not None and own.labels.get(SKIP_TARGET_RULES_LABEL, "").lower() == "true"
    return LbRule(
        source_port=rule.source_port,
        protocol=rule.protocol,
        weight=rule.weight,
        priority=rule.priority,
        target_port=offered.source_port or offered.target_port or rule.target_port,
        backend_name=offered.backend_name,
        hostname=None if plain else offered.hostname,
        path=None if plain else offered.path,
    )


def _target(rule: LbRule, service: Service) -> Target:
    try:
        protocol = Protocol((rule.protocol or "http").lower())
    except ValueError:
        raise BadRule(f"{rule.protocol!r} is no protocol; use http, https, tls, tcp or sni") from None
    port = rule.source_port or 0
    if not rule.target_port:
        raise BadRule(f"the rule for port {port} and service {service.name!r} has no target port")
    match, host = _host(rule.hostname or "") if protocol.routes_by_host else (None, "")
    path = (rule.path or "") if protocol.routes_by_path else ""
    if not _PATH.match(path):
        raise BadRule(f"the path {path!r} of the rule for port {port} has characters that no path may have")
    return Target(
        service=service,
        source_port=port,
        target_port=rule.target_port,
        protocol=protocol,
        host_match=match,
        host=host,
        path=path,
        priority=rule.priority or 0,
        weight=1 if rule.weight is None else min(256, max(0, rule.weight)),
        backend_name=_NOT_IN_NAMES.sub("_", rule.backend_name or ""),
    )


def _host(text: str) -> tuple[HostMatch | None, str]:
    match, host = HostMatch.EXACT, text.strip()
    if host in ("", "*"):
        return None, ""
    if len(host) > 2 and host.startswith("*"):
        match, host = HostMatch.SUFFIX, host[1:]
    elif len(host) > 2 and host.endswith("*"):
        match, host = HostMatch.PREFIX, host[:-1]
    if not _HOST.match(host):
        raise BadRule(f"{text!r} is no host name; write app.example.com, *.example.com or app.*")
    return match, host


class Names:
    """Names of backends: unique for each group, unless the user gave several groups one name on purpose."""

    def __init__(self) -> None:
        self._generated: set[str] = set(_RESERVED)
        self._given: set[str] = set()

    def reserve(self, names: Iterable[str]) -> None:
        """Names that users gave, so that no generated one equals them by accident."""
        self._given.update(names)

    def name(self, group: Group) -> str:
        given = group.first.backend_name
        if given:
            return f"{given}_" if given in _RESERVED else given
        base = _SEPARATORS.sub("_", f"{group.first.source_port}_{group.first.host}_{group.first.path}")
        wanted, counter = base, 2
        if wanted in self._generated | self._given and group.first.host_match not in (None, HostMatch.EXACT):
            wanted = base = f"{base.rstrip('_')}_any"
        while wanted in self._generated or wanted in self._given:
            wanted, counter = f"{base.rstrip('_')}_{counter}", counter + 1
        self._generated.add(wanted)
        return wanted
