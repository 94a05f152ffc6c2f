"""Certificates for tests."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from drover.host.balancer.certificates import pem


def certificate(*names: str) -> str:
    """A self-signed certificate with its key, as a proxy reads it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem(private.decode(), signed.public_bytes(serialization.Encoding.PEM).decode())


@pytest.fixture(scope="session")
def make_certificate() -> dict[str, str]:
    return {
        "one": certificate("one.example.com", "*.one.example.com"),
        "two": certificate("two.example.com"),
        "renewed": certificate("one.example.com", "*.one.example.com"),
    }
