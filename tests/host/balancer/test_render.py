"""The text for HAProxy: what it says, how written text is merged, and that HAProxy itself accepts it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from drover.host.balancer.custom import CustomTextError, merge, parse_custom
from drover.host.balancer.model import (
    Backend,
    Check,
    Frontend,
    HostMatch,
    Model,
    Protocol,
    Route,
    Server,
    Sticky,
)
from drover.host.balancer.render import Layout, Renderer, request_line
from tests.host.balancer.proxies import HAVE_HAPROXY

LAYOUT = Layout.standard(Path("/etc/haproxy"), Path("/var/run"))
WEB = Backend("web", True, (Server("10.0.0.1", 8080, weight=3),))
MODEL = Model((Frontend(80, Protocol.HTTP, (Route("web"),)),), (WEB,))


def text(model: Model = MODEL, *, default: Path | None = None) -> str:
    return Renderer(LAYOUT, parse_custom(model.custom), default).text(model)


def section(header: str, model: Model = MODEL, *, default: Path | None = None) -> list[str]:
    """The lines of a section."""
    found: list[str] | None = None
    for line in text(model, default=default).splitlines():
        if line == header:
            found = []
        elif found is not None:
            if not line.startswith(" "):
                return found
            found.append(line.strip())
    raise AssertionError(f"no section {header}")


def test_order_of_sections() -> None:
    model = replace(MODEL, custom="listen stats\n bind *:9000\n userlist a\n group g\nglobal\n tune.ssl.lifetime 1")
    headers = [line for line in text(model).splitlines() if line and line[0] not in " #"]
    assert headers == [
        "global",
        "defaults",
        "listen stats",
        "userlist a",
        "resolvers rancher",
        "listen default",
        "frontend 80",
        "backend web",
    ]


def test_a_backend() -> None:
    lines = section("backend web")
    assert lines[0] == "mode http"
    assert lines[-1] == f"server {Server('10.0.0.1', 1).name} 10.0.0.1:8080 weight 3"
    assert "http-request add-header X-Forwarded-Port %[dst_port] if forwarded_port" in lines
    assert "http-request add-header X-Forwarded-Proto https if { ssl_fc } forwarded_proto" in lines


def test_checks_leave_zeros_out() -> None:
    backend = replace(WEB, check=Check(8081, "GET /ready HTTP/1.0", interval=2000, response_timeout=1500))
    lines = section("backend web", replace(MODEL, backends=(backend,)))
    assert "timeout check 1500" in lines
    assert "option httpchk GET /ready HTTP/1.0" in lines
    assert lines[-1].endswith("10.0.0.1:8080 check port 8081 inter 2000 weight 3")


@pytest.mark.parametrize("line", ['GET "/a', "GET /a\n  use-server evil", "  "])
def test_a_request_line_that_would_break_the_file_is_left_out(line: str) -> None:
    assert request_line(Check(80, line)) == ""


def test_stickiness_has_the_backends_own_name() -> None:
    sticky = Sticky("insert", indirect=True, nocache=True, domain=".example.com")
    other = replace(WEB, name="api", sticky=replace(sticky, cookie="SRV"))
    model = replace(MODEL, backends=(replace(WEB, sticky=sticky), other))
    assert "cookie web insert indirect nocache domain .example.com" in section("backend web", model)
    assert "cookie SRV insert indirect nocache domain .example.com" in section("backend api", model)
    name = Server("10.0.0.1", 1).name
    assert section("backend web", model)[-1] == f"server {name} 10.0.0.1:8080 cookie {name} weight 3"


def test_a_host_name_is_resolved_while_it_runs() -> None:
    model = replace(MODEL, backends=(replace(WEB, servers=(Server("a.example.net", 80, is_hostname=True),)),))
    line = section("backend web", model)[-1]
    assert line == "server a.example.net a.example.net:80 check resolvers rancher init-addr last,libc,none weight 1"


def test_routes() -> None:
    routes = (
        Route("a", HostMatch.EXACT, "app.example.com", "/x"),
        Route("a", HostMatch.SUFFIX, ".example.com"),
        Route("b", HostMatch.PREFIX, "app."),
        Route("c", None, "", "/p"),
        Route("d"),
    )
    model = Model((Frontend(8080, Protocol.HTTP, routes),))
    assert section("frontend 8080", model) == [
        "bind *:8080",
        "mode http",
        "acl a_host hdr(host) -i app.example.com",
        "acl a_host hdr(host) -i app.example.com:8080",
        "acl a_path path_beg -i /x",
        "use_backend a if a_host a_path",
        "acl a_2_host hdr_end(host) -i .example.com",
        "acl a_2_host hdr_end(host) -i .example.com:8080",
        "use_backend a if a_2_host",
        "acl b_host hdr_beg(host) -i app.",
        "use_backend b if b_host",
        "acl c_path path_beg -i /p",
        "use_backend c if c_path",
        "default_backend d",
    ]


def test_sni_matches_wildcards() -> None:
    routes = (Route("a", HostMatch.SUFFIX, ".example.com"), Route("b", HostMatch.EXACT, "b.example.com"))
    lines = section("frontend 443", Model((Frontend(443, Protocol.SNI, routes),)))
    assert lines[1:] == [
        "mode tcp",
        "tcp-request inspect-delay 5s",
        "tcp-request content accept if { req.ssl_hello_type 1 }",
        "acl a_host req.ssl_sni -i -m end .example.com",
        "use_backend a if a_host",
        "acl b_host req.ssl_sni -i b.example.com",
        "use_backend b if b_host",
    ]


def test_certificates_on_the_bind_line() -> None:
    model = replace(MODEL, frontends=(Frontend(443, Protocol.HTTPS, (Route("web"),)),))
    assert section("frontend 443", model)[0] == "bind *:443 ssl crt /etc/haproxy/certs/current strict-sni"
    default = Path("/etc/haproxy/certs/current/main.pem")
    assert section("frontend 443", model, default=default)[0] == (
        "bind *:443 ssl crt /etc/haproxy/certs/current/main.pem crt /etc/haproxy/certs/current"
    )


class TestCustomText:
    def test_frontend_lines_come_right_after_bind(self) -> None:
        custom = "frontend 80\n  accept-proxy\n  timeout client 120s\n"
        assert section("frontend 80", replace(MODEL, custom=custom))[:3] == [
            "bind *:80 accept-proxy",
            "timeout client 120s",
            "mode http",
        ]

    def test_server_parameters_reach_every_server_of_their_backend(self) -> None:
        custom = "backend web\n server $IP maxconn 5\n server $IP send-proxy\nbackend gone\n server $IP ssl"
        servers = (Server("10.0.0.1", 80), Server("10.0.0.2", 80))
        lines = section("backend web", replace(MODEL, custom=custom, backends=(replace(WEB, servers=servers),)))
        assert [line.split(" ", 3)[3] for line in lines[-2:]] == ["maxconn 5 send-proxy weight 1"] * 2

    def test_a_nameless_backend_means_all(self) -> None:
        custom = "backend\n  balance leastconn\n  server $IP maxconn 7\n"
        lines = section("backend web", replace(MODEL, custom=custom))
        assert "balance leastconn" in lines
        assert "maxconn 7" in lines[-1]

    def test_written_lines_replace_generated_ones(self) -> None:
        custom = (
            "defaults\n timeout client 120s\n no option redispatch\nglobal\n ssl-default-bind-ciphers MINE\n daemon"
        )
        defaults = section("defaults", replace(MODEL, custom=custom))
        assert [line for line in defaults if line.startswith("timeout client")] == ["timeout client 120s"]
        assert "option redispatch 1" not in defaults
        generated = section("global", replace(MODEL, custom=custom))
        assert [line for line in generated if line.startswith("ssl-default-bind-ciphers")] == [
            "ssl-default-bind-ciphers MINE"
        ]
        assert generated.count("daemon") == 1

    def test_generated_lines_follow_by_name(self) -> None:
        assert merge(["x 1"], [("b", "2"), ("a", ""), ("x", "3")]) == ["x 1", "a", "b 2"]

    def test_our_socket_stays(self) -> None:
        custom = "global\n stats socket /var/run/haproxy.sock mode 666\n stats socket /other.sock"
        lines = section("global", replace(MODEL, custom=custom))
        assert [line for line in lines if line.startswith("stats socket")] == [
            "stats socket /var/run/haproxy.sock mode 600 level admin expose-fd listeners",
            "stats socket /other.sock",
        ]

    def test_unknown_sections_are_kept_apart(self) -> None:
        custom = "cache small\n total-max-size 4\nfrontend extra\n bind *:81\nhttp-errors mine\n errorfile 400 /x"
        assert section("cache small", replace(MODEL, custom=custom)) == ["total-max-size 4"]
        assert section("http-errors mine", replace(MODEL, custom=custom)) == ["errorfile 400 /x"]

    def test_lines_before_any_section_are_refused(self) -> None:
        with pytest.raises(CustomTextError, match="'balance source' belongs to no section"):
            parse_custom("# mine\n\n  balance source\nglobal\n")

    @pytest.mark.parametrize(
        ("custom", "dynamic"),
        [("", True), ("backend web\nbalance leastconn", True), ("backend web\nbalance source", False),
         ("backend\nbalance static-rr", False), ("defaults\nbalance uri", False),
         ("defaults\ndefault-server maxconn 5", False),
         ("defaults\nbalance uri\nbackend web\nbalance roundrobin", True)],
    )  # fmt: skip
    def test_which_backends_take_servers_while_running(self, custom: str, dynamic: bool) -> None:
        assert Renderer(LAYOUT, parse_custom(custom)).has_dynamic_servers(WEB) is dynamic


EVERYTHING = """
global
    log 127.0.0.1:8514 local0 debug
    ssl-default-bind-ciphers ECDHE-RSA-AES128-GCM-SHA256
defaults
    log global
    timeout client 90s
listen stats
    bind *:19000
    mode http
    stats enable
    stats uri /admin
userlist people
    user ann insecure-password secret
frontend insecure
    bind *:18080
    mode http
    http-request redirect scheme https
frontend 80
    timeout client 120s
    option httplog
frontend 8025
    accept-proxy
backend web
    balance leastconn
    acl allowed http_auth(people)
    http-request auth realm Shop if !allowed
    server $IP maxconn 200
backend api
    server $IP ssl verify none
backend smtp
    server $IP send-proxy
cache small
    total-max-size 4
"""


@pytest.mark.skipif(not HAVE_HAPROXY, reason="needs HAProxy")
def test_haproxy_accepts_what_is_rendered(tmp_path: Path, make_certificate: dict[str, str]) -> None:
    servers = (Server("10.0.0.1", 80), Server("10.0.0.2", 80, weight=0), Server("a.example.net", 80, is_hostname=True))
    check = Check(80, r"GET /ready HTTP/1.1\r\nHost:\ app", 2000, 2000, 2, 3)
    model = Model(
        (
            Frontend(8443, Protocol.HTTPS, (Route("api", HostMatch.EXACT, "api.example.com", "/v1"), Route("web"))),
            Frontend(8444, Protocol.TLS, (Route("smtp"),)),
            Frontend(8445, Protocol.SNI, (Route("smtp", HostMatch.SUFFIX, ".example.com"),)),
            Frontend(8025, Protocol.TCP, (Route("smtp"),)),
            Frontend(80, Protocol.HTTP, (Route("web", HostMatch.SUFFIX, ".example.com", "/it's"), Route("web"))),
        ),
        (
            Backend("api", True, servers, check=check),
            Backend("web", True, servers, sticky=Sticky("insert", "a b", "d", True, True, True)),
            Backend("smtp", False, servers, check=Check(25)),
            Backend("empty", True),
        ),
        custom=EVERYTHING,
    )
    certificates = tmp_path / "certs"
    certificates.mkdir()
    (certificates / "one.pem").write_text(make_certificate["one"])
    state = tmp_path / "state"
    state.write_text("1\n")
    layout = replace(LAYOUT, certificates=certificates, state=state)
    for default in (None, certificates / "one.pem"):
        path = tmp_path / "haproxy.cfg"
        path.write_text(Renderer(layout, parse_custom(model.custom), default).text(model))
        done = subprocess.run(("haproxy", "-c", "-f", str(path)), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
