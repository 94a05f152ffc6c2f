"""Who this host is, across restarts.

The identity is a few files in the state folder: the host token (it re-registers the same host), the host's and
the machine's UUID, and a fingerprint of the machine. A cloned disk brings all of them to another machine; the
fingerprint shows it before two machines fight over one host.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from drover.host.agent.errors import IdentityError
from drover.host.agent.parameters.volumes import DOCKER_ROOT
from drover.host.agent.settings import AgentSettings

log = structlog.get_logger(__name__)

TOKEN_FILE = ".registration_token"  # noqa: S105 - a file name
PHYSICAL_HOST_FILE = ".physical_host_uuid"
DOCKER_UUID_FILE = ".docker_uuid"
FINGERPRINT_FILE = ".machine_fingerprint"
TOKEN_BYTES = 64

DMI_UUID = Path("/sys/class/dmi/id/product_uuid")
MACHINE_ID = Path("/etc/machine-id")
CONTAINER_MARK = Path("/.dockerenv")

_TOKEN = re.compile(r"[0-9a-f]{128}")


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """The stored identity. `host_token` proves that a registration is by the same host: a secret."""

    host_token: str
    physical_host_uuid: str
    docker_uuid: str
    fingerprint: str

    def __repr__(self) -> str:
        return f"HostIdentity(docker_uuid={self.docker_uuid!r})"


def load_identity(settings: AgentSettings, *, fingerprint: str | None = None) -> HostIdentity:
    """Reads the identity, making what is missing. Raises IdentityError on a cloned identity."""
    folder = settings.state_dir
    folder.mkdir(parents=True, exist_ok=True)
    found = machine_fingerprint() if fingerprint is None else fingerprint
    if settings.new_identity:
        for name in (TOKEN_FILE, PHYSICAL_HOST_FILE, DOCKER_UUID_FILE, FINGERPRINT_FILE):
            (folder / name).unlink(missing_ok=True)
        log.info("identity.forgotten", state_dir=str(folder))
    _check_fingerprint(folder / FINGERPRINT_FILE, found)
    return HostIdentity(
        host_token=_host_token(folder / TOKEN_FILE),
        physical_host_uuid=_uuid(folder / PHYSICAL_HOST_FILE, settings.physical_host_uuid),
        docker_uuid=_uuid(folder / DOCKER_UUID_FILE, settings.docker_uuid),
        fingerprint=found,
    )


def machine_fingerprint() -> str:
    """A hash of what a clone does not share: the machine's DMI UUID, else its machine id.

    Empty where neither says anything about the machine (a container's own machine id does not).
    """
    for path in (DMI_UUID, MACHINE_ID):
        if path is MACHINE_ID and CONTAINER_MARK.exists():
            continue
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text:
            return hashlib.sha256(text.encode()).hexdigest()[:32]
    return ""


def engine_identity(info: Mapping[str, Any]) -> str:
    """What tells one engine from all others, from its `info`.

    Docker's own id is not enough: engines up to 23 take it from `/etc/docker/key.json`, so several engines on one
    machine share it. They cannot share the data folder.
    """
    engine_id, root = str(info.get("ID") or ""), str(info.get("DockerRootDir") or DOCKER_ROOT)
    return engine_id if root == DOCKER_ROOT else f"{engine_id}@{root}"


@contextmanager
def engine_lock(folder: Path, engine_id: str) -> Iterator[None]:
    """Holds the engine for this agent. Raises IdentityError when another agent has it.

    Two locks, because each sees what the other cannot: the file in the state folder is shared by agents in
    different network namespaces, the abstract socket by agents with different state folders (the agent's container
    shares the host's network). The kernel drops both when the process ends, however it ends.
    """
    key = hashlib.sha256(engine_id.encode()).hexdigest()[:32]
    with _file_lock(folder / f".engine-{key}.lock", engine_id), _socket_lock(key, engine_id):
        yield


@contextmanager
def _file_lock(path: Path, engine_id: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _engine_taken(engine_id, os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _socket_lock(key: str, engine_id: str) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        try:
            lock.bind(f"\0drover-agent-{key}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise _engine_taken(engine_id, "") from None
        yield


def _engine_taken(engine_id: str, holder: str) -> IdentityError:
    return IdentityError(
        f"Another agent{f' (pid {holder})' if holder else ''} already serves this Docker engine "
        f"({engine_id}): stop it first, or give this one its own engine with --docker-url"
    )


def host_public_key(path: Path) -> str:
    """The host's public key in PEM, for secrets that only this host may read; made on first use.

    Under the header `RSA PUBLIC KEY`, which is wrong for its content (PKIX) but what readers expect.
    """
    private = _private_key(path)
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode().replace(" PUBLIC KEY-----", " RSA PUBLIC KEY-----")


def write_private(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Writes a secret file whole or not at all, never readable by others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)


def _check_fingerprint(path: Path, found: str) -> None:
    stored = _read(path)
    if stored and found and stored != found:
        raise IdentityError(
            f"The identity in {path.parent} belongs to another machine, so this one looks like its clone. "
            "Start the agent with --new-identity to add this machine as a host of its own; if the same "
            f"machine only got new hardware, delete {path}"
        )
    if found and not stored:
        write_private(path, found.encode())


def _host_token(path: Path) -> str:
    stored = _read(path)
    if _TOKEN.fullmatch(stored):
        return stored
    token = secrets.token_hex(TOKEN_BYTES)
    write_private(path, token.encode())
    return token


def _uuid(path: Path, given: str | None) -> str:
    """The given UUID overwrites the stored one; an empty or missing file gets a new UUID."""
    value = given or _read(path) or str(uuid.uuid4())
    if value != _read(path):
        write_private(path, value.encode())
    return value


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def _private_key(path: Path) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        write_private(path, pem, mode=0o400)
    except ValueError as error:
        raise IdentityError(f"The host key {path} is not a PEM key: restore or delete it ({error})") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise IdentityError(f"The host key {path} is not an RSA key: delete it, and a new one is made")
    return key
