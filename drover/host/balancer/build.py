"""From the world to the model of one balancer: a pure function.

A rule that cannot be carried out is left out and named among the problems; the others are served.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from drover.client.world import Container, LbConfig, Service, World
from drover.host.balancer.interest import Interest
from drover.host.balancer.model import (
    Backend,
    Certificates,
    Check,
    Frontend,
    Model,
    Phase,
    Protocol,
    Route,
    Server,
    Sticky,
)
from drover.host.balancer.rules import BadRule, Group, Names, Target, groups_of, targets_of
from drover.host.balancer.targets import Locality, Targets

TARGET_LABEL = "io.rancher.lb_service.target"
CERT_DIR_LABEL = "io.rancher.lb_service.cert_dir"
DEFAULT_CERT_DIR_LABEL = "io.rancher.lb_service.default_cert_dir"

_COOKIE_MODES = frozenset({"rewrite", "insert", "prefix"})


class NotABalancer(Exception):
    """The container belongs to no service with a balancer's configuration."""


@dataclass(frozen=True, slots=True)
class Built:
    """A model, and in the user's words what had to be left out of it."""

    model: Model
    interest: Interest
    problems: tuple[str, ...] = ()


def own_service(world: World, own: Container) -> Service:
    """The balancer that a container works for. Raises NotABalancer."""
    for each in own.memberships:
        service = world.services.get(f"{each.service_uuid}_{each.service_name}".lower())
        if service is not None and service.lb_config is not None:
            return service
    raise NotABalancer(f"container {own.name or own.uuid} belongs to no service with an lb_config")


def build(world: World, own: Container, *, draining: Collection[str] = ()) -> Built:
    """The model for the balancer whose container is ``own``. ``draining``: names of servers that finish their work.

    Raises NotABalancer, and BadRule for a configuration that has no meaning at all.
    """
    service = own_service(world, own)
    config = service.lb_config or LbConfig()
    targets = Targets(world, locality=_locality(service), host=own.host_uuid or world.host)
    resolved, problems = _resolve(config, service, targets)

    ports: dict[int, list[Target]] = {}
    for target in resolved:
        ports.setdefault(target.source_port, []).append(target)
    frontends: list[Frontend] = []
    backends: dict[str, Backend] = {}
    names = Names()
    names.reserve(target.backend_name for target in resolved if target.backend_name)
    for port in sorted(ports, key=str, reverse=True):
        protocol = ports[port][0].protocol
        if protocol is Protocol.UDP:
            problems.append(f"port {port}: udp cannot be balanced")
            continue
        routes = []
        for group in groups_of(ports[port]):
            name = names.name(group)
            first = group.first
            routes.append(Route(name, first.host_match, first.host, first.path))
            if name not in backends:
                backends[name] = _backend(name, group, protocol, config, targets, draining)
        frontends.append(Frontend(port, protocol, tuple(routes)))
    model = Model(tuple(frontends), tuple(backends.values()), _certificates(service, config), config.config or "")
    interest = Interest(
        own=own.uuid,
        service=service.key,
        names=frozenset(targets.names),
        keys=frozenset(targets.keys),
        parents=frozenset(targets.parents),
        selectors=tuple(dict.fromkeys(rule.selector for rule in config.port_rules if rule.selector)),
    )
    return Built(model, interest, tuple(dict.fromkeys(problems)))


def withhold_starting(model: Model) -> Model:
    """The model without servers that are just being started, where a backend has another one to send to."""
    return replace(model, backends=tuple(_withhold(backend) for backend in model.backends))


def _withhold(backend: Backend) -> Backend:
    if not any(server.phase is Phase.STARTING for server in backend.servers):
        return backend
    started = tuple(server for server in backend.servers if server.phase is not Phase.STARTING)
    return replace(backend, servers=started) if any(server.weight for server in started) else backend


def _resolve(config: LbConfig, service: Service, targets: Targets) -> tuple[list[Target], list[str]]:
    resolved: list[Target] = []
    problems: list[str] = []
    for rule in config.port_rules:
        try:
            resolved.extend(targets_of(rule, service, targets))
        except BadRule as error:
            problems.append(str(error))
    return resolved, problems


def _locality(service: Service) -> Locality:
    label = service.labels.get(TARGET_LABEL) or Locality.ANY.value
    try:
        return Locality(label)
    except ValueError:
        raise BadRule(f"label {TARGET_LABEL}={label}: use any, only-local or prefer-local") from None


def _backend(
    name: str, group: Group, protocol: Protocol, config: LbConfig, targets: Targets, draining: Collection[str]
) -> Backend:
    servers: dict[str, Server] = {}
    for target in group.targets:
        for server in targets.endpoints(target.service, port=target.target_port, weight=target.weight):
            servers.setdefault(server.address, server)
    return Backend(
        name=name,
        is_http=protocol.is_http,
        servers=_weighed(servers.values(), draining),
        check=_check(group.first.service),
        sticky=_sticky(config) if protocol.is_http else None,
    )


def _weighed(servers: Iterable[Server], draining: Collection[str]) -> tuple[Server, ...]:
    """Nothing new for servers that drain, nor for those that stop while another one is there."""
    weighed = [replace(server, weight=0) if server.name in draining else server for server in servers]
    others = any(server.phase is not Phase.STOPPING and server.name not in draining for server in weighed)
    if not others:
        return tuple(weighed)
    return tuple(replace(each, weight=0) if each.phase is Phase.STOPPING else each for each in weighed)


def _check(service: Service) -> Check | None:
    check = service.health_check
    if check is None or not check.port:
        return None
    return Check(
        port=check.port,
        request_line=check.request_line or "",
        interval=check.interval or 0,
        response_timeout=check.response_timeout or 0,
        healthy_threshold=check.healthy_threshold or 0,
        unhealthy_threshold=check.unhealthy_threshold or 0,
    )


def _sticky(config: LbConfig) -> Sticky | None:
    policy = config.stickiness_policy
    if policy is None or policy.mode not in _COOKIE_MODES:
        return None
    return Sticky(
        mode=policy.mode,
        cookie=policy.cookie or "",
        domain=policy.domain or "",
        indirect=policy.indirect,
        nocache=policy.nocache,
        postonly=policy.postonly,
    )


def _certificates(service: Service, config: LbConfig) -> Certificates:
    directory, default_directory = service.labels.get(CERT_DIR_LABEL), service.labels.get(DEFAULT_CERT_DIR_LABEL)
    if directory or default_directory:
        return Certificates(directory=directory, default_directory=default_directory)
    return Certificates(names=tuple(config.certs), default=config.default_cert)
