"""The key pair with which the server vouches for itself to its hosts.

Stream and access tokens are RS256 JWTs of this key; hosts fetch its public half (``/v1/scripts/api.crt``) and check
them without asking back. The same key heads the server's own certificate authority, which signs the certificates of
API keys. Shapes and claims are those of Rancher 1.6.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from drover.common.errors import DroverError
from drover.server.orchestration.vault import VaultError, read_or_create

KEY_FILE = "host-api.key"
CA_FILE = "ca.crt"
TOKEN_SECONDS = 300

_ISSUER = "http://cattle.io"
_SUBJECT = "cattle"
_KEY_ID = "default"
_LEEWAY_SECONDS = 60
_CA_DAYS = 3650


class InvalidToken(DroverError):
    """A token that is forged, expired or not ours."""


class HostApiKeys:
    """Signs and checks the tokens of this installation; knows the certificate authority that belongs to the key."""

    def __init__(self, private_pem: bytes, ca_pem: bytes) -> None:
        loaded = _load(private_pem)
        self.private_key = loaded
        self.ca = x509.load_pem_x509_certificate(ca_pem)
        self.ca_pem = ca_pem.decode()
        self._signing = RSAKey(loaded, loaded)
        self.public_pem = (
            loaded.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    @classmethod
    def open(cls, directory: Path) -> HostApiKeys:
        """The keys of a data directory, made when there are none yet."""
        private_pem = read_or_create(directory / KEY_FILE, _new_private_key)
        ca_pem = read_or_create(directory / CA_FILE, lambda: _new_ca(private_pem))
        return cls(private_pem, ca_pem)

    def sign(self, claims: Mapping[str, Any], *, seconds: float = TOKEN_SECONDS) -> str:
        """A token with these claims beside the standard ones; valid for ``seconds``."""
        now = int(time.time())
        payload = {
            "sub": _SUBJECT,
            "iss": _ISSUER,
            "iat": now,
            "exp": now + int(seconds),
            "kid": _KEY_ID,
            **claims,
        }
        return jwt.encode({"alg": "RS256"}, payload, self._signing, algorithms=["RS256"])

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a token of ours. Raises InvalidToken; a minute of clock difference is forgiven."""
        try:
            decoded = jwt.decode(token, self._signing, algorithms=["RS256"])
            registry = jwt.JWTClaimsRegistry(
                leeway=_LEEWAY_SECONDS,
                iss={"essential": True, "value": _ISSUER},
                exp={"essential": True},
            )
            registry.validate(decoded.claims)
        except (JoseError, ValueError) as error:
            raise InvalidToken("the token is not valid (any more): ask the API for a new one") from error
        return dict(decoded.claims)

    def issue_certificate(self, public_key: rsa.RSAPublicKey, common_name: str, *, days: int = _CA_DAYS) -> str:
        """A client certificate for a name, signed by the server's authority, as PEM."""
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(self.ca.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self.private_key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()


@lru_cache(maxsize=1)
def _load(private_pem: bytes) -> rsa.RSAPrivateKey:
    """The parsed key. Parsing tests its numbers for being prime, which takes 40 ms."""
    key = serialization.load_pem_private_key(private_pem, password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise VaultError(f"{KEY_FILE} is not an RSA key: restore it from a backup")
    return key


def new_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _new_private_key() -> bytes:
    return private_pem(new_rsa_key())


def _new_ca(key_pem: bytes) -> bytes:
    key = _load(key_pem)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cattle")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)
