"""Secrets at rest: what must be readable again is encrypted, what must only be recognised is hashed with a key.

One random key of 32 bytes lives in a file beside the database, readable by the server alone, and never enters the
database: a stolen database without the key file gives nothing away. Every use of the key has a purpose, and what was
encrypted for one purpose cannot be passed off as another. All servers of one installation need the same key file, and
a backup without it is not complete.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from drover.common.errors import DroverError

KEY_FILE = "vault.key"

_KEY_BYTES = 32
_NONCE_BYTES = 12
_PREFIX = "vault:1:"


class VaultError(DroverError):
    """A key file that cannot be used, or a secret that this key does not open."""


class Vault:
    """Encrypts with AES-256-GCM; ``purpose`` says what a text is for and is checked when it is read back."""

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise VaultError(f"a vault key has {_KEY_BYTES} bytes, not {len(key)}: restore the key file from a backup")
        self._cipher = AESGCM(_derive(key, b"encrypt"))
        self._hash_key = _derive(key, b"hash")

    @classmethod
    def open(cls, directory: Path) -> Vault:
        """The vault of a data directory; its key is made when there is none yet."""
        path = directory / KEY_FILE
        text = read_or_create(path, lambda: secrets.token_hex(_KEY_BYTES).encode())
        try:
            return cls(binascii.unhexlify(text.strip()))
        except binascii.Error as error:
            raise VaultError(f"{path} is not a key of this server: restore it from a backup") from error

    def encrypt(self, text: str, *, purpose: str) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode(), purpose.encode())
        return _PREFIX + base64.b64encode(nonce + sealed).decode()

    def decrypt(self, stored: str, *, purpose: str) -> str:
        """The text again. Raises VaultError when it was encrypted with another key, or for another purpose."""
        if not is_encrypted(stored):
            raise VaultError(f"the stored {purpose} is not encrypted")
        try:
            sealed = base64.b64decode(stored[len(_PREFIX) :], validate=True)
            opened = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose.encode())
        except (InvalidTag, ValueError) as error:
            raise VaultError(
                f"the stored {purpose} cannot be decrypted: the key file {KEY_FILE} does not belong to this database"
            ) from error
        return opened.decode()

    def digest(self, text: str, *, purpose: str) -> str:
        """A keyed hash as 64 hex digits: to recognise a text without being able to say it."""
        return hmac.new(self._hash_key, purpose.encode() + b"\0" + text.encode(), hashlib.sha256).hexdigest()


def is_encrypted(stored: str) -> bool:
    return stored.startswith(_PREFIX)


def read_or_create(path: Path, make: Callable[[], bytes]) -> bytes:
    """The content of a key file; made once, readable by its owner only. Safe when two servers start together."""
    try:
        return _read(path)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(make())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # unlike a rename, this never replaces a key that another server has just made
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return _read(path)


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    if path.stat().st_mode & 0o077:
        raise VaultError(f"{path} can be read by others than its owner: run chmod 600 {path}")
    return content


def _derive(key: bytes, label: bytes) -> bytes:
    return hmac.new(key, b"drover " + label, hashlib.sha256).digest()
