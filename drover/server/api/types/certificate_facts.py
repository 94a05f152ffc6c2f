"""What a certificate says about itself, in the words of Rancher 1.6's ``certificate`` resource."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

_LONGEST = 64 * 1024


class CertificateError(ValueError):
    """A certificate or key that cannot be used; ``field_name`` is the field to correct."""

    def __init__(self, field_name: str, message: str) -> None:
        self.field_name = field_name
        super().__init__(message)


def read_certificate(cert: str, key: str) -> dict[str, Any]:
    """The fields to store beside the certificate. Raises CertificateError when the key does not belong to it."""
    certificate = _load_certificate(cert)
    if _public_bytes(certificate.public_key()) != _public_bytes(_load_key(key).public_key()):
        raise CertificateError("key", "The key does not belong to the certificate; use the one it was requested with")
    public = certificate.public_key()
    return {
        "CN": _common_name(certificate.subject),
        "algorithm": _algorithm(certificate),
        "certFingerprint": certificate.fingerprint(hashes.SHA1()).hex(":"),  # noqa: S303 - the API's fingerprint
        "expiresAt": _text_date(certificate.not_valid_after_utc),
        "issuedAt": _text_date(certificate.not_valid_before_utc),
        "issuer": _common_name(certificate.issuer) or certificate.issuer.rfc4514_string(),
        "keySize": public.key_size if isinstance(public, rsa.RSAPublicKey) else None,
        "serialNumber": str(certificate.serial_number),
        "subjectAlternativeNames": _alternative_names(certificate),
        "version": str(certificate.version.value + 1),
    }


def _load_certificate(cert: str) -> x509.Certificate:
    if len(cert) > _LONGEST:
        raise CertificateError("cert", "The certificate is too long; put the chain into certChain")
    try:
        return x509.load_pem_x509_certificate(cert.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError("cert", "cert must be a certificate in PEM form") from None


def _load_key(key: str) -> Any:
    try:
        return serialization.load_pem_private_key(key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CertificateError("key", "key must be a private key in PEM form without a passphrase") from None


def _public_bytes(public: Any) -> bytes:
    encoded: bytes = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _common_name(name: x509.Name) -> str | None:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else None


def _algorithm(certificate: x509.Certificate) -> str:
    """Java's name of the signature algorithm: ``SHA256WITHRSA``."""
    digest = certificate.signature_hash_algorithm
    kind = "RSA" if isinstance(certificate.public_key(), rsa.RSAPublicKey) else "ECDSA"
    return kind if digest is None else f"{digest.name.upper()}WITH{kind}"


def _alternative_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(each.value) for each in names]


def _text_date(moment: datetime) -> str:
    return moment.strftime("%a %b %d %H:%M:%S UTC %Y")
