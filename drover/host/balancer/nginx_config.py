"""The text of nginx.conf for a model.

Routes become a map whose regular expressions are tried in the order given: nginx' own choice of server and location
knows no priorities. A backend without a server that takes requests answers 503, as with HAProxy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from drover.host.balancer.certificates import Bundle
from drover.host.balancer.model import Backend, Frontend, HostMatch, Model, Protocol, Route, Server

STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
MARK = "# Written by drover balancer; changes made here are lost."

_PROXY_HEADERS = (
    "proxy_http_version 1.1;",
    "proxy_set_header Host $http_host;",
    "proxy_set_header Upgrade $http_upgrade;",
    "proxy_set_header Connection $drover_connection;",
    "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    "proxy_set_header X-Forwarded-Port $drover_port;",
    "proxy_set_header X-Forwarded-Proto $drover_proto;",
    "proxy_connect_timeout 5s;",
    "proxy_read_timeout 50s;",
    "proxy_next_upstream error timeout;",
)


class Unsupported(Exception):
    """Something in the model that nginx cannot do."""


@dataclass(frozen=True, slots=True)
class NginxConfig:
    """``revision`` is what the health port answers, so that a reload can be seen to have happened."""

    model: Model
    bundle: Bundle
    certificates: Path
    pid: Path
    health_bind: str
    revision: str

    def text(self) -> str:
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        used = {route.backend for frontend in self.model.frontends for route in frontend.routes}
        backends = [backend for backend in self.model.backends if backend.name in used]
        streams = [frontend for frontend in self.model.frontends if not frontend.protocol.is_http]
        yield MARK
        if streams:
            if not STREAM_MODULE.exists():
                raise Unsupported(f"tcp needs nginx' stream module ({STREAM_MODULE}): install libnginx-mod-stream")
            yield f"load_module {STREAM_MODULE};"
        yield "worker_processes auto;"
        yield f"pid {self.pid};"
        yield "error_log stderr warn;"
        yield "events { worker_connections 4096; }"
        yield from _block("http", self._http(backends))
        if streams:
            yield from _block("stream", self._stream(streams, backends))

    def _http(self, backends: list[Backend]) -> Iterator[str]:
        yield "access_log off;"
        yield "server_tokens off;"
        yield "client_max_body_size 0;"
        yield "map $http_upgrade $drover_connection { default upgrade; '' close; }"
        yield "map $http_x_forwarded_port $drover_port { default $http_x_forwarded_port; '' $server_port; }"
        yield "map $http_x_forwarded_proto $drover_proto { default $http_x_forwarded_proto; '' $scheme; }"
        yield from _block(
            "server", [f"listen {self.health_bind.removeprefix('*:')};", f"return 200 '{self.revision}';"]
        )
        for backend in backends:
            if backend.is_http and _takes_requests(backend):
                yield from _upstream(backend)
        live = {backend.name for backend in backends if _takes_requests(backend)}
        for frontend in self.model.frontends:
            if frontend.protocol.is_http:
                yield from _map(frontend, live)
                yield from self._servers(frontend)
        yield from self.model.custom.splitlines()

    def _servers(self, frontend: Frontend) -> Iterator[str]:
        variable = f"$backend_{frontend.port}"
        location = [*_PROXY_HEADERS, f"if ({variable} = '') {{ return 503; }}", f"proxy_pass http://{variable};"]
        if not frontend.protocol.ends_tls:
            yield from _block("server", [f"listen {frontend.port};", *_block("location /", location)])
            return
        if not self.bundle.files:
            raise Unsupported(f"port {frontend.port}: no certificate can be used")
        default = self.bundle.default or next(iter(self.bundle.files))
        for name, pem in self.bundle.files.items():
            flag = " default_server" if name == default else ""
            path = self.certificates / name
            yield from _block(
                "server",
                [
                    f"listen {frontend.port} ssl{flag};",
                    f"server_name {' '.join(_names(pem)) or '_'};",
                    f"ssl_certificate {path};",
                    f"ssl_certificate_key {path};",
                    *_block("location /", location),
                ],
            )

    def _stream(self, frontends: list[Frontend], backends: list[Backend]) -> Iterator[str]:
        by_name = {backend.name: backend for backend in backends}
        for backend in backends:
            if not backend.is_http and _takes_requests(backend):
                yield from _upstream(backend)
        for frontend in frontends:
            if frontend.protocol is not Protocol.TCP:
                raise Unsupported(f"port {frontend.port}: {frontend.protocol.value} is served by HAProxy only")
            backend = by_name[frontend.routes[-1].backend]
            if _takes_requests(backend):
                yield from _block("server", [f"listen {frontend.port};", f"proxy_pass {backend.name};"])


def _takes_requests(backend: Backend) -> bool:
    return any(server.weight for server in backend.servers)


def _upstream(backend: Backend) -> Iterator[str]:
    yield from _block(f"upstream {backend.name}", [_server(server) for server in backend.servers])


def _server(server: Server) -> str:
    """Without counting failures: a backend whose servers all failed once would be dead for ten seconds."""
    weight = f"weight={server.weight} max_fails=0" if server.weight else "down"
    return f"server {server.address}:{server.port} {weight};"


def _map(frontend: Frontend, live: set[str]) -> Iterator[str]:
    lines = []
    for route in frontend.routes:
        backend = route.backend if route.backend in live else "''"
        if route.host_match is None and not route.path:
            lines.append(f"default {backend};")
        else:
            lines.append(f'"~*{_pattern(route)}" {backend};')
    yield from _block(f'map "$host$uri" $backend_{frontend.port}', lines)


def _pattern(route: Route) -> str:
    hosts = {
        None: "[^/]*",
        HostMatch.EXACT: _escaped(route.host),
        HostMatch.SUFFIX: f"[^/]*{_escaped(route.host)}",
        HostMatch.PREFIX: f"{_escaped(route.host)}[^/]*",
    }
    path = route.path if route.path.startswith("/") or not route.path else f"/{route.path}"
    return f"^{hosts[route.host_match]}{_escaped(path) or '/'}"


def _escaped(text: str) -> str:
    """For a regular expression in double quotes of nginx."""
    return re.escape(text).replace('"', '\\"').replace("$", "\\x24")


def _names(pem: str) -> list[str]:
    certificate = x509.load_pem_x509_certificate(_first_certificate(pem).encode())
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name for name in names.get_values_for_type(x509.DNSName) if re.fullmatch(r"[A-Za-z0-9.*_-]+", name)]


def _first_certificate(pem: str) -> str:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return pem[pem.index(begin) : pem.index(end) + len(end)] + "\n"


def _block(header: str, lines: Iterator[str] | list[str]) -> Iterator[str]:
    yield f"{header} {{"
    for line in lines:
        yield f"    {line}"
    yield "}"
