"""The difference between two models: changes of servers, or something that needs a new configuration."""

from __future__ import annotations

from dataclasses import dataclass

from drover.host.balancer.model import Backend, Model, Server


@dataclass(frozen=True, slots=True)
class Add:
    backend: str
    server: Server


@dataclass(frozen=True, slots=True)
class Remove:
    backend: str
    server: Server


@dataclass(frozen=True, slots=True)
class Change:
    """Another port or weight at the same address."""

    backend: str
    before: Server
    server: Server


Step = Add | Remove | Change


@dataclass(frozen=True, slots=True)
class Plan:
    """``steps`` lead from one model to the other, unless ``structural`` says why they cannot."""

    steps: tuple[Step, ...] = ()
    structural: str = ""

    def __bool__(self) -> bool:
        return bool(self.steps) or bool(self.structural)


def plan(before: Model | None, after: Model) -> Plan:
    """Added servers come first and removed ones last, so that a backend has servers at every moment."""
    if before is None:
        return Plan(structural="nothing is known of the running configuration")
    if reason := _structural(before, after):
        return Plan(structural=reason)
    adds: list[Step] = []
    changes: list[Step] = []
    removes: list[Step] = []
    for old, new in zip(before.backends, after.backends, strict=True):
        if old.servers is new.servers or old.servers == new.servers:
            continue
        had = {server.name: server for server in old.servers}
        has = {server.name: server for server in new.servers}
        for name, server in has.items():
            former = had.get(name)
            if former is None:
                adds.append(Add(new.name, server))
            elif (former.port, former.weight) != (server.port, server.weight):
                changes.append(Change(new.name, former, server))
        removes += [Remove(new.name, server) for name, server in had.items() if name not in has]
    return Plan((*adds, *changes, *removes))


def _structural(before: Model, after: Model) -> str:
    if before.custom != after.custom:
        return "the custom configuration changed"
    if before.certificates != after.certificates:
        return "the choice of certificates changed"
    if before.frontends != after.frontends:
        return "frontends or routes changed"
    if _shapes(before) != _shapes(after):
        return "backends changed"
    hosts = _hostnames(before.backends) ^ _hostnames(after.backends)
    return "a server with a host name changed" if hosts else ""


def _shapes(model: Model) -> list[Backend]:
    return [backend.shape for backend in model.backends]


def _hostnames(backends: tuple[Backend, ...]) -> set[tuple[str, str, int]]:
    """A running proxy takes addresses; names to be resolved it reads from its file only."""
    return {
        (backend.name, server.address, server.port)
        for backend in backends
        for server in backend.servers
        if server.is_hostname
    }
