"""Passwords, API keys and session keys: how they are made, stored and recognised.

People choose passwords badly, so those are hashed slowly (argon2id, in a thread). The server chooses API keys with
more than 200 bits, and agents show theirs with every request, so those get one fast keyed hash; the salted SHA-256
that Rancher 1.6 stored is understood, too. A few secrets must be said again and are encrypted instead.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import string
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import MappingProxyType
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from drover.common.clock import now_ms
from drover.server.orchestration.vault import Vault, VaultError, is_encrypted
from drover.server.store import Record

# Stored with the vault, because the server must say them again (registration hands an agent its key each time it asks).
READABLE_KINDS = MappingProxyType(
    {
        "agentApiKey": "agent key",
        "registrationToken": "registration secret",
        "registryCredential": "registry credential",
        "sshKey": "private key",
    }
)

_SECRET_ALPHABET = "".join(sorted(set(string.ascii_letters + string.digits) - set("O0lI")))
_SECRET_LENGTH = 40
_KEYED = "K1"
_SALTED = "SHA256"
_PURPOSE = "api key"

_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_threads = ThreadPoolExecutor(2, thread_name_prefix="password")  # each hash takes 19 MiB and a core for a moment


def new_public_value() -> str:
    """The public half of a key pair: 20 upper-case hex digits."""
    return secrets.token_hex(10).upper()


def new_secret_value() -> str:
    """The secret half: 40 characters that nobody mistakes for one another."""
    return "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(_SECRET_LENGTH))


# API keys


def hash_secret(secret: str, vault: Vault) -> str:
    """The stored form of an API key's secret."""
    salt = secrets.token_hex(8)
    return f"{_KEYED}:{salt}:{vault.digest(salt + secret, purpose=_PURPOSE)}"


def secret_matches(stored: str, given: str, vault: Vault, *, kind: str = "apiKey") -> bool:
    """Whether this is the secret that was stored (not for passwords). Takes the same time for any wrong one."""
    if is_encrypted(stored):
        try:
            known = vault.decrypt(stored, purpose=READABLE_KINDS.get(kind, kind))
        except VaultError:
            return False
        return hmac.compare_digest(known.encode(), given.encode())
    scheme, _, rest = stored.partition(":")
    salt, _, known = rest.partition(":")
    match scheme:
        case "K1":
            computed = vault.digest(salt + given, purpose=_PURPOSE)
        case "SHA256":
            computed = hashlib.sha256((salt + given).encode()).hexdigest()
        case _:
            return False
    return hmac.compare_digest(computed.encode(), known.encode())


# Secrets that are said again


def seal(secret: str, vault: Vault, *, kind: str) -> str:
    """The stored form of a credential's secret that somebody must be told later."""
    return vault.encrypt(secret, purpose=READABLE_KINDS[kind])


def unseal(credential: Record, vault: Vault) -> str:
    """The secret again. Raises VaultError when the key file is not the one that it was stored with."""
    return vault.decrypt(str(credential["secretValue"] or ""), purpose=READABLE_KINDS[credential.kind])


def seal_secret(value: str, vault: Vault) -> str:
    """The stored form of a ``secret``; ``value`` is its content in base64."""
    return vault.encrypt(value, purpose="secret")


def secret_value(secret: Record, vault: Vault) -> str:
    """The content of a ``secret`` in base64, for the hosts whose containers use it. Raises VaultError."""
    return vault.decrypt(str(secret["value"] or ""), purpose="secret")


def seal_certificate_key(pem: str, vault: Vault) -> str:
    return vault.encrypt(pem, purpose="certificate key")


def certificate_key(certificate: Record, vault: Vault) -> str:
    """The private key of a ``certificate`` as PEM, for the balancers that use it. Raises VaultError."""
    return vault.decrypt(str(certificate["key"] or ""), purpose="certificate key")


# Passwords


async def hash_password(password: str) -> str:
    return await asyncio.get_running_loop().run_in_executor(_threads, _hasher.hash, password)


async def password_matches(stored: str | None, given: str) -> bool:
    """Whether the password is right. Without a stored hash it takes as long, and is wrong."""
    return await asyncio.get_running_loop().run_in_executor(_threads, _verify, stored, given)


def needs_new_hash(stored: str) -> bool:
    """A hash made by an older scheme; replaced when its owner logs in."""
    try:
        return _hasher.check_needs_rehash(stored)
    except InvalidHashError:
        return True


def _verify(stored: str | None, given: str) -> bool:
    if stored is not None and stored.startswith(f"{_SALTED}:"):
        _, salt, known = stored.split(":", 2)
        computed = hashlib.sha256((salt + given).encode()).hexdigest()
        return hmac.compare_digest(computed.encode(), known.encode())
    try:
        return _hasher.verify(stored or _nobodys_hash(), given) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_hex(16))


# Rows


def login_claim(login: str) -> str:
    """The key that only one password may hold: log-in names differ in more than case."""
    return "login:" + hashlib.sha256(login.casefold().encode()).hexdigest()


def key_values(*, kind: str, account_id: int, public_value: str, stored_secret: str) -> Mapping[str, Any]:
    """A credential row that needs no process, because nothing outside the database has to happen for it."""
    return {
        "kind": kind,
        "accountId": account_id,
        "state": "active",
        "created": now_ms(),
        "uuid": str(uuid.uuid4()),
        "publicValue": public_value,
        "secretValue": stored_secret,
    }
