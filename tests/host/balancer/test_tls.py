"""TLS with a real HAProxy: which certificate is shown, and renewal without a reload; folders as source."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from drover.host.balancer.certificates import (
    Bundle,
    CertificateSource,
    CertificatesUnavailable,
    file_name,
    pem,
    write_folder,
)
from drover.host.balancer.model import Backend, Certificates, Frontend, HostMatch, Model, Protocol, Route, Server
from drover.host.balancer.provider import Applied
from tests.host.balancer.proxies import HAVE_HAPROXY, free_port, haproxy, sites

pytestmark = pytest.mark.anyio

needs_haproxy = [pytest.mark.slow, pytest.mark.skipif(not HAVE_HAPROXY, reason="needs HAProxy")]


def model(port: int, target: int, *, protocol: Protocol = Protocol.HTTPS) -> Model:
    backend = Backend("web", protocol.is_http, (Server("127.0.7.1", target),))
    return Model((Frontend(port, protocol, (Route("web"),)),), (backend,))


async def shown(port: int, name: str) -> x509.Certificate | None:
    """The certificate that a client asking for a name gets; None when it is refused."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    except (ssl.SSLError, ConnectionError):
        return None
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return x509.load_der_x509_certificate(found)


def first_name(certificate: x509.Certificate | None) -> str | None:
    if certificate is None:
        return None
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)[0]


class TestShown:
    pytestmark = needs_haproxy

    async def test_default_and_alternates(self, tmp_path: Path, make_certificate: dict[str, str]) -> None:
        port, target = free_port(), free_port()
        files = {"one.pem": make_certificate["one"], "two.pem": make_certificate["two"]}
        async with haproxy(tmp_path) as proxy:
            await proxy.apply(model(port, target), Bundle(files, "two.pem"))
            names = ("one.example.com", "x.one.example.com", "two.example.com", "unknown.example.com")
            assert [first_name(await shown(port, name)) for name in names] == [
                "one.example.com",
                "one.example.com",
                "two.example.com",
                "two.example.com",
            ]
            await proxy.apply(model(port, target), Bundle(files))
            assert first_name(await shown(port, "one.example.com")) == "one.example.com"
            assert await shown(port, "unknown.example.com") is None

    async def test_without_any_certificate_it_still_starts(self, tmp_path: Path) -> None:
        port, target = free_port(), free_port()
        async with haproxy(tmp_path) as proxy:
            assert await proxy.apply(model(port, target), Bundle()) is Applied.RELOAD
            assert await shown(port, "one.example.com") is None

    async def test_renewal_needs_no_reload(self, tmp_path: Path, make_certificate: dict[str, str]) -> None:
        port, target = free_port(), free_port()
        async with haproxy(tmp_path) as proxy:
            for protocol in (Protocol.HTTPS, Protocol.TLS):
                wanted = model(port, target, protocol=protocol)
                await proxy.apply(wanted, Bundle({"one.pem": make_certificate["one"]}, "one.pem"))
                before = await shown(port, "one.example.com")
                renewed = Bundle({"one.pem": make_certificate["renewed"]}, "one.pem")
                assert await proxy.apply(wanted, renewed) is Applied.RUNTIME
                after = await shown(port, "one.example.com")
                assert before is not None
                assert after is not None
                assert before.serial_number != after.serial_number
                assert await proxy.apply(wanted, renewed) is Applied.NOTHING

    async def test_sni_is_passed_through(self, tmp_path: Path, make_certificate: dict[str, str]) -> None:
        port, inner, target = free_port(), free_port(), free_port()
        backend = Backend("inner", False, (Server("127.0.0.1", inner),))
        passing = Frontend(port, Protocol.SNI, (Route("inner", HostMatch.SUFFIX, ".one.example.com"),))
        ending = model(inner, target)
        both = Model((passing, *ending.frontends), (backend, *ending.backends))
        async with haproxy(tmp_path) as proxy:
            await proxy.apply(both, Bundle({"one.pem": make_certificate["one"]}, "one.pem"))
            assert first_name(await shown(port, "x.one.example.com")) == "one.example.com"
            assert await shown(port, "elsewhere.com") is None

    async def test_requests_say_that_they_came_by_tls(self, tmp_path: Path, make_certificate: dict[str, str]) -> None:
        port, target = free_port(), free_port()
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with haproxy(tmp_path) as proxy, sites(1, port=target) as farm:
            await proxy.apply(model(port, target), Bundle({"one.pem": make_certificate["one"]}, "one.pem"))
            for extra in ("", "X-Forwarded-Proto: gopher\r\nX-Forwarded-Port: 70\r\n"):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                writer.write(f"GET / HTTP/1.1\r\nHost: x\r\n{extra}Connection: close\r\n\r\n".encode())
                await reader.read(-1)
                writer.transport.abort()
        plain, given = (head.lower() for head in farm[0].seen)
        assert "x-forwarded-proto: https" in plain
        assert f"x-forwarded-port: {port}" in plain
        assert "x-forwarded-for: 127.0.0.1" in plain
        assert "https" not in given
        assert given.count("x-forwarded-port") == 1


class TestFolders:
    async def test_every_complete_subfolder_is_a_certificate(
        self, tmp_path: Path, make_certificate: dict[str, str]
    ) -> None:
        await asyncio.to_thread(_fill, tmp_path, make_certificate)
        source = CertificateSource(_nothing)
        bundle = await source.load(
            Certificates(directory=str(tmp_path / "all"), default_directory=str(tmp_path / "default"))
        )
        assert sorted(bundle.files) == ["linked.pem", "one.pem", "two.pem"]
        assert bundle.default == "two.pem"
        assert [problem.split(":")[0] for problem in bundle.problems] == ["certificate broken.pem cannot be used"]

    async def test_a_missing_folder_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(CertificatesUnavailable, match="gone"):
            await CertificateSource(_nothing).load(Certificates(directory=str(tmp_path / "gone")))


def test_files_are_private(tmp_path: Path) -> None:
    write_folder(tmp_path / "certs", Bundle({"a.pem": "x"}))
    assert (tmp_path / "certs" / "a.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "certs").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["../../etc/passwd", ".hidden", "a b", "a/b", "", "x" * 300])
def test_no_name_leaves_the_folder(name: str) -> None:
    made = file_name(name)
    assert "/" not in made
    assert not made.startswith(".")
    assert made.endswith(".pem")
    assert file_name(name + "x") != made


def test_a_payload_has_no_blank_line() -> None:
    assert pem("k1\nk2\n\n", "\nc1\n", "\n") == "k1\nk2\nc1\n"


def test_secrets_are_not_shown() -> None:
    assert "PRIVATE" not in repr(Bundle({"a.pem": "PRIVATE"}))


async def _nothing(name: str) -> str | None:
    return None


def _fill(folder: Path, certificates: dict[str, str]) -> None:
    for place, text in (("all/one", "one"), ("default/two", "two"), ("elsewhere", "renewed"), ("all/broken", "")):
        path = folder / place
        path.mkdir(parents=True)
        content = certificates.get(text, "not a certificate\n")
        (path / "fullchain.pem").write_text(content)
        (path / "privkey.pem").write_text(content)
    (folder / "all" / "incomplete").mkdir()
    (folder / "all" / "incomplete" / "privkey.pem").write_text(certificates["one"])
    (folder / "all" / "linked").symlink_to(folder / "elsewhere")
