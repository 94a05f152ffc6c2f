"""The text of haproxy.cfg for a model. Functionally that of Rancher 1.6's balancer.

Everything that comes from rules was validated when the model was built or is quoted here; only the owner's own text
is taken as it is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from drover.host.balancer.custom import Custom, merge
from drover.host.balancer.haproxy_defaults import (
    DEFAULTS,
    GLOBAL,
    HTTP_BACKEND,
    HTTP_BACKEND_ACLS,
    NAMESERVER,
    RESOLVERS,
)
from drover.host.balancer.model import Backend, Check, Frontend, HostMatch, Model, Protocol, Route, Server

HEALTH_LISTENER = "default"
MARK = "# Written by drover balancer; changes made here are lost."

_HOST_FETCHES = {HostMatch.EXACT: "hdr(host)", HostMatch.SUFFIX: "hdr_end(host)", HostMatch.PREFIX: "hdr_beg(host)"}
_SNI_FLAGS = {HostMatch.EXACT: "", HostMatch.SUFFIX: " -m end", HostMatch.PREFIX: " -m beg"}
_PLAIN = re.compile(r"[A-Za-z0-9_./:=?&%+@~,*!-]+\Z")


@dataclass(frozen=True, slots=True)
class Layout:
    """Files and the port of health checks of one HAProxy."""

    config: Path
    candidate: Path
    certificates: Path
    socket: Path
    master_socket: Path
    state: Path
    health_bind: str = "*:42"

    @classmethod
    def standard(cls, config: Path, run: Path, *, health_bind: str = "*:42") -> Layout:
        """``config``: folder of the configuration (/etc/haproxy); ``run``: folder of sockets (/var/run)."""
        return cls(
            config=config / "haproxy.cfg",
            candidate=config / "haproxy_new.cfg",
            certificates=config / "certs" / "current",
            socket=run / "haproxy.sock",
            master_socket=run / "haproxy-master.sock",
            state=run / "haproxy-state",
            health_bind=health_bind,
        )


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders models for one HAProxy. ``default_certificate``: file served to clients that ask for an unknown name."""

    layout: Layout
    custom: Custom
    default_certificate: Path | None = None

    def text(self, model: Model) -> str:
        return "\n".join(self._lines(model)) + "\n"

    def server_parameters(self, backend: Backend) -> str:
        """What every server line of a backend ends with."""
        custom = (
            *self.custom.server_parameters("backend"),
            *self.custom.server_parameters(f"backend {backend.name}"),
        )
        parts = [part for part in custom if part]
        if backend.check is not None:
            parts.append(_check_parameters(backend.check))
        return " ".join(parts)

    def has_dynamic_servers(self, backend: Backend) -> bool:
        """Whether HAProxy can add servers to this backend while it runs, and they are as those from the file."""
        written = (*self.custom.lines("defaults"), *self._written(backend))
        algorithms = [words[1] for line in written if (words := line.split())[0] == "balance" and len(words) > 1]
        return (
            (not algorithms or algorithms[-1] in ("roundrobin", "leastconn"))
            and not any(line.startswith("default-server ") for line in written)
            and backend.sticky is None
        )

    def _lines(self, model: Model) -> Iterator[str]:
        yield MARK
        yield from _section("global", self._global())
        yield from _section("defaults", self._defaults())
        known = [
            *(f"frontend {frontend.port}" for frontend in model.frontends),
            *(f"backend {backend.name}" for backend in model.backends),
        ]
        for header, lines in self.custom.others(known):
            yield from _section(header, lines)
        yield from _section(f"resolvers {RESOLVERS}", [f"nameserver {RESOLVERS} {NAMESERVER}"])
        yield from _section(f"listen {HEALTH_LISTENER}", [f"bind {self.layout.health_bind}", "mode tcp"])
        for frontend in model.frontends:
            yield from _section(f"frontend {frontend.port}", self._frontend(frontend))
        for backend in model.backends:
            yield from _section(f"backend {backend.name}", self._backend(backend))

    def _global(self) -> list[str]:
        socket = str(self.layout.socket)
        written = [line for line in self.custom.lines("global") if not line.startswith(f"stats socket {socket}")]
        return [
            f"stats socket {socket} mode 600 level admin expose-fd listeners",
            f"server-state-file {self.layout.state}",
            *merge(written, GLOBAL),
        ]

    def _defaults(self) -> list[str]:
        return ["load-server-state-from-file global", *merge(self.custom.lines("defaults"), DEFAULTS)]

    def _frontend(self, frontend: Frontend) -> Iterator[str]:
        written = list(self.custom.lines(f"frontend {frontend.port}"))
        flags = " accept-proxy" if "accept-proxy" in written else ""
        if frontend.protocol.ends_tls:
            if self.default_certificate is not None:
                flags += f" ssl crt {_quoted(str(self.default_certificate))} crt {self.layout.certificates}"
            else:
                flags += f" ssl crt {self.layout.certificates} strict-sni"
        yield f"bind *:{frontend.port}{flags}"
        yield from (line for line in written if line != "accept-proxy")
        yield f"mode {'http' if frontend.protocol.is_http else 'tcp'}"
        if frontend.protocol is Protocol.SNI:
            yield "tcp-request inspect-delay 5s"
            yield "tcp-request content accept if { req.ssl_hello_type 1 }"
        used: set[str] = set()
        for route in frontend.routes:
            yield from _route(frontend, route, used)

    def _written(self, backend: Backend) -> list[str]:
        return [*self.custom.lines("backend"), *self.custom.lines(f"backend {backend.name}")]

    def _backend(self, backend: Backend) -> Iterator[str]:
        yield f"mode {'http' if backend.is_http else 'tcp'}"
        if backend.is_http:
            yield from HTTP_BACKEND_ACLS
        yield from merge(self._written(backend), HTTP_BACKEND if backend.is_http else ())
        if backend.check is not None:
            if backend.check.response_timeout:
                yield f"timeout check {backend.check.response_timeout}"
            if line := request_line(backend.check):
                yield f"option httpchk {line}"
        if backend.sticky is not None:
            yield _cookie(backend)
        for server in backend.servers:
            yield self.server_line(backend, server)

    def server_line(self, backend: Backend, server: Server) -> str:
        parts = [f"server {server.name} {server.address}:{server.port}", self.server_parameters(backend)]
        if server.is_hostname:
            if backend.check is None:
                parts.append("check")
            parts.append(f"resolvers {RESOLVERS} init-addr last,libc,none")
        if backend.sticky is not None:
            parts.append(f"cookie {server.name}")
        parts.append(f"weight {server.weight}")
        return " ".join(part for part in parts if part)


def request_line(check: Check) -> str:
    """The check's request as ``option httpchk`` takes it; empty when it has none or one that cannot be read.

    The text is HAProxy's own notation (``GET /ready HTTP/1.0\\r\\nHost:\\ app``), so it is not quoted again.
    """
    line = check.request_line.strip()
    if not line or any(ord(char) < 32 for char in line):
        return ""
    try:
        return line if shlex.split(line) else ""
    except ValueError:  # a quote that is never closed would take the rest of the file with it
        return ""


def _check_parameters(check: Check) -> str:
    parts = [f"check port {check.port}"]
    parts += [
        f"{word} {value}"
        for word, value in (
            ("inter", check.interval),
            ("rise", check.healthy_threshold),
            ("fall", check.unhealthy_threshold),
        )
        if value > 0
    ]
    return " ".join(parts)


def _cookie(backend: Backend) -> str:
    sticky = backend.sticky
    assert sticky is not None
    parts = ["cookie", _quoted(sticky.cookie or backend.name), sticky.mode]
    parts += [
        word
        for word, on in (("indirect", sticky.indirect), ("nocache", sticky.nocache), ("postonly", sticky.postonly))
        if on
    ]
    if sticky.domain:
        parts += ["domain", _quoted(sticky.domain)]
    return " ".join(parts)


def _route(frontend: Frontend, route: Route, used: set[str]) -> Iterator[str]:
    """Each route has conditions of its own: two of one backend must not see each other's."""
    name, counter = route.backend, 2
    while name in used:
        name, counter = f"{route.backend}_{counter}", counter + 1
    used.add(name)
    conditions = []
    if route.host_match is not None:
        yield from _host_acls(frontend, route, name)
        conditions.append(f"{name}_host")
    if route.path:
        yield f"acl {name}_path path_beg -i {_quoted(route.path)}"
        conditions.append(f"{name}_path")
    if conditions:
        yield f"use_backend {route.backend} if {' '.join(conditions)}"
    else:
        yield f"default_backend {route.backend}"


def _host_acls(frontend: Frontend, route: Route, name: str) -> Iterator[str]:
    match = route.host_match
    assert match is not None
    if frontend.protocol is Protocol.SNI:
        yield f"acl {name}_host req.ssl_sni -i{_SNI_FLAGS[match]} {route.host}"
        return
    yield f"acl {name}_host {_HOST_FETCHES[match]} -i {route.host}"
    if match is not HostMatch.PREFIX:
        yield f"acl {name}_host {_HOST_FETCHES[match]} -i {route.host}:{frontend.port}"


def _quoted(text: str) -> str:
    """A word of the configuration: strong quotes keep everything but the quote itself."""
    if _PLAIN.match(text):
        return text
    flat = "".join(char for char in text if ord(char) >= 32)
    return "'" + flat.replace("'", "'\\''") + "'"


def _section(header: str, lines: Sequence[str] | Iterator[str]) -> Iterator[str]:
    yield header
    for line in lines:
        yield f"    {line}"
    yield ""
