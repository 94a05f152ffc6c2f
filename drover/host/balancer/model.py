"""What a balancer shall do, independent of the program that does it.

A frontend listens on a port and routes by host and path to backends; a backend is a set of servers that share options.
All of it is immutable and compared by value: the difference of two models decides what has to be changed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Protocol(StrEnum):
    """How a frontend reads what it receives. ``udp`` is accepted by the API; HAProxy cannot serve it."""

    HTTP = "http"
    HTTPS = "https"
    TLS = "tls"
    TCP = "tcp"
    SNI = "sni"
    UDP = "udp"

    @property
    def is_http(self) -> bool:
        return self in (Protocol.HTTP, Protocol.HTTPS)

    @property
    def ends_tls(self) -> bool:
        return self in (Protocol.HTTPS, Protocol.TLS)

    @property
    def routes_by_host(self) -> bool:
        return self in (Protocol.HTTP, Protocol.HTTPS, Protocol.SNI)

    @property
    def routes_by_path(self) -> bool:
        return self.is_http


class HostMatch(StrEnum):
    EXACT = "exact"
    SUFFIX = "suffix"
    PREFIX = "prefix"


class Phase(StrEnum):
    """Where the container of a server is in its life. External addresses are always running."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Server:
    """An address that requests are sent to. ``weight`` 0: finishes what it has, gets nothing new."""

    address: str
    port: int
    weight: int = 1
    phase: Phase = Phase.RUNNING
    is_hostname: bool = False

    @property
    def name(self) -> str:
        """Stable for an address: drain requests and sticky cookies name a server by it (as Rancher 1.6 does)."""
        return self.address if self.is_hostname else server_name(self.address)


@dataclass(frozen=True, slots=True)
class Check:
    """Times in milliseconds; zero leaves the proxy's own default."""

    port: int
    request_line: str = ""
    interval: int = 0
    response_timeout: int = 0
    healthy_threshold: int = 0
    unhealthy_threshold: int = 0


@dataclass(frozen=True, slots=True)
class Sticky:
    """A cookie that keeps a visitor on one server; an empty ``cookie`` stands for the backend's name."""

    mode: str
    cookie: str = ""
    domain: str = ""
    indirect: bool = False
    nocache: bool = False
    postonly: bool = False


@dataclass(frozen=True, slots=True)
class Backend:
    name: str
    is_http: bool
    servers: tuple[Server, ...] = ()
    check: Check | None = None
    sticky: Sticky | None = None

    @property
    def shape(self) -> Backend:
        """Everything but the servers: two backends of one shape differ in servers at most."""
        return replace(self, servers=())


@dataclass(frozen=True, slots=True)
class Route:
    """Which requests of a frontend a backend gets. Without host and path: all that no other route takes."""

    backend: str
    host_match: HostMatch | None = None
    host: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Frontend:
    """``routes`` in the order in which they are tried."""

    port: int
    protocol: Protocol
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class Certificates:
    """Names of certificates that TLS frontends present, or the folders to take them from."""

    names: tuple[str, ...] = ()
    default: str | None = None
    directory: str | None = None
    default_directory: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """``custom`` is configuration text of the balancer's owner, in the language of the provider."""

    frontends: tuple[Frontend, ...] = ()
    backends: tuple[Backend, ...] = ()
    certificates: Certificates = field(default_factory=Certificates)
    custom: str = ""

    def backend(self, name: str) -> Backend | None:
        return next((each for each in self.backends if each.name == name), None)

    @property
    def ends_tls(self) -> bool:
        return any(frontend.protocol.ends_tls for frontend in self.frontends)


def server_name(address: str) -> str:
    """Lower-case hexadecimal SHA-1 of the address' text."""
    return hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
