"""Servers with a CA of their own, and clouds that say where the host is."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from drover.host.agent import cloud
from drover.host.agent.cloud import CloudLabels
from drover.host.agent.errors import RegistrationError
from drover.host.agent.server import new_session
from drover.host.agent.trust import matches, trust_server

pytestmark = pytest.mark.anyio


class TlsServer:
    """Serves its self-signed certificate at the place where registration looks for it."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        digest = certificate.fingerprint(hashes.SHA1()).hex().upper()
        self.fingerprint = ":".join(digest[i : i + 2] for i in range(0, 40, 2))
        chain = folder / "chain.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain.write_bytes(self.pem.encode() + private)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain)
        self.url = ""

    async def certificate(self, _: web.Request) -> web.Response:
        return web.Response(text=self.pem)


@pytest.fixture
async def tls(tmp_path: Path, anyio_backend: str) -> AsyncIterator[TlsServer]:
    served = TlsServer(tmp_path)
    app = web.Application()
    app.router.add_get("/v1/scripts/ca.crt", served.certificate)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=served.context)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    served.url = f"https://localhost:{port}/v1/scripts/TOKEN"
    yield served
    await runner.cleanup()


async def test_a_ca_with_the_right_fingerprint_is_trusted_from_then_on(tls: TlsServer, tmp_path: Path):
    state = tmp_path / "state"
    async with new_session(state) as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(tls.url.replace("TOKEN", "ca.crt"))
    await trust_server(tls.url, state_dir=state, environ={"CA_FINGERPRINT": tls.fingerprint})
    assert (tmp_path / "etc" / "ssl" / "ca.crt").read_text() == tls.pem
    async with new_session(state) as session, session.get(tls.url.replace("TOKEN", "ca.crt")) as response:
        assert response.status == 200


async def test_another_ca_is_refused(tls: TlsServer, tmp_path: Path):
    with pytest.raises(RegistrationError, match="somebody may be in between"):
        await trust_server(tls.url, state_dir=tmp_path / "state", environ={"CA_FINGERPRINT": "AA:" * 19 + "AA"})
    assert not (tmp_path / "etc").exists()


async def test_without_a_fingerprint_nothing_is_fetched(tmp_path: Path):
    await trust_server("https://localhost:1/v1/scripts/x", state_dir=tmp_path / "state", environ={})
    await trust_server(
        "http://localhost:1/v1/scripts/x", state_dir=tmp_path / "state", environ={"CA_FINGERPRINT": "AA"}
    )


def test_text_that_is_no_certificate_matches_nothing():
    assert not matches("", "")
    assert not matches("-----BEGIN CERTIFICATE-----!-----END CERTIFICATE-----", "AA")


@pytest.fixture
async def metadata(anyio_backend: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, str]]:
    """A cloud's metadata address: path -> answer."""
    answers: dict[str, str] = {}

    async def serve(request: web.Request) -> web.Response:
        if request.path not in answers:
            raise web.HTTPNotFound
        return web.Response(text=answers[request.path])

    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    base = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
    monkeypatch.setattr(cloud, "AWS_URL", f"{base}/aws")
    monkeypatch.setattr(cloud, "ALIYUN_URL", f"{base}/aliyun")
    monkeypatch.setattr(cloud, "PAUSE", 0.0)
    yield answers
    await runner.cleanup()


@pytest.mark.parametrize(
    ("answers", "provider"),
    [
        ({"/aws": '{"region":"r-1","availabilityZone":"z-1"}'}, "aws"),
        ({"/aliyun/region-id": "r-1", "/aliyun/zone-id": "z-1"}, "aliyun"),
    ],
)
async def test_cloud_labels_are_found_once(metadata, tmp_path: Path, answers: dict[str, str], provider: str):
    metadata |= answers
    expected = {
        "io.rancher.host.provider": provider,
        "io.rancher.host.region": "r-1",
        "io.rancher.host.zone": "z-1",
    }
    async with aiohttp.ClientSession() as session:
        labels = CloudLabels(tmp_path / "info.json")
        await labels.detect(session)
        assert labels.labels == expected
        metadata.clear()
        again = CloudLabels(tmp_path / "info.json")
        assert again.labels == expected


async def test_no_cloud_no_labels(metadata, tmp_path: Path):
    metadata |= {"/aws": "<html>", "/aliyun/region-id": "<html>"}
    async with aiohttp.ClientSession() as session:
        labels = CloudLabels(tmp_path / "info.json")
        await labels.detect(session)
    assert labels.labels == {}
    assert not (tmp_path / "info.json").exists()
