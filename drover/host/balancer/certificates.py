"""Certificates of a balancer: where they come from, and the folder that the proxy reads them from.

From the API they are taken by name with the environment's own key, or a folder holds a sub-folder for each. A
certificate that cannot be used is left out and named; the others are served.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drover.client.errors import ClientError
from drover.host.balancer.model import Certificates

_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\Z")
_LARGEST = 1024 * 1024


class CertificatesUnavailable(Exception):
    """They cannot be read now; what was read before stays in use."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Certificates by file name (key, certificate, chain in PEM) and the file that is the default."""

    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    default: str | None = None
    problems: tuple[str, ...] = ()

    def same_names(self, other: Bundle) -> bool:
        return self.files.keys() == other.files.keys() and self.default == other.default


Fetch = Callable[[str], Awaitable[str | None]]
"""A certificate of the environment by name, as PEM text with its key; None: there is none of this name."""


@dataclass(frozen=True, slots=True)
class CertificateSource:
    fetch: Fetch
    cert_file: str = "fullchain.pem"
    key_file: str = "privkey.pem"

    async def load(self, wanted: Certificates) -> Bundle:
        """Raises CertificatesUnavailable when the server cannot be asked."""
        if wanted.directory or wanted.default_directory:
            found = await asyncio.to_thread(self._from_folders, wanted)
        else:
            found = await self._from_server(wanted)
        return await asyncio.to_thread(_without_broken, found)

    async def _from_server(self, wanted: Certificates) -> Bundle:
        names = dict.fromkeys((*wanted.names, *((wanted.default,) if wanted.default else ())))
        files, problems = {}, []
        for name in names:
            try:
                text = await self.fetch(name)
            except ClientError as error:
                raise CertificatesUnavailable(f"certificate {name!r} cannot be read: {error}") from error
            if text is None:
                problems.append(f"certificate {name!r} does not exist in this environment")
            else:
                files[file_name(name)] = text
        return Bundle(files, file_name(wanted.default) if wanted.default else None, tuple(problems))

    def _from_folders(self, wanted: Certificates) -> Bundle:
        files = self._in_folder(wanted.directory)
        default = None
        for name, text in self._in_folder(wanted.default_directory).items():
            files[name], default = text, name
            break
        return Bundle(files, default)

    def _in_folder(self, folder: str | None) -> dict[str, str]:
        """Every sub-folder with both files is a certificate; it is named like the sub-folder."""
        files: dict[str, str] = {}
        if folder is None:
            return files
        try:
            entries = sorted(Path(folder).iterdir())
        except OSError as error:
            raise CertificatesUnavailable(f"folder {folder} cannot be read: {error.strerror}") from error
        for entry in entries:
            cert, key = entry / self.cert_file, entry / self.key_file
            if cert.is_file() and key.is_file() and cert.stat().st_size + key.stat().st_size <= _LARGEST:
                files[file_name(entry.name)] = pem(key.read_text(), cert.read_text())
        return files


def pem(key: str, certificate: str, chain: str = "") -> str:
    """One text as the proxy reads it. No blank lines: they would end the payload of a runtime command."""
    lines = (line.strip() for part in (key, certificate, chain) for line in part.splitlines())
    return "\n".join(line for line in lines if line) + "\n"


def file_name(name: str) -> str:
    """A file for a certificate of any name; names that no file may have are told apart by their hash."""
    if _SAFE.match(name):
        return f"{name}.pem"
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:80].strip("_")
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:10]}.pem"


def write_folder(folder: Path, bundle: Bundle) -> None:
    """Exactly these files, readable by their owner alone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    for name, text in bundle.files.items():
        write_private(folder / name, text)


def write_private(path: Path, text: str) -> None:
    """Write through a temporary file, so that a reader sees all of it or the former content."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)


def _without_broken(bundle: Bundle) -> Bundle:
    """A single unreadable certificate would make the proxy refuse the whole configuration."""
    good, problems = {}, list(bundle.problems)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in bundle.files.items():
            path = Path(folder) / "candidate.pem"
            write_private(path, text)
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, password=b"")
            except (ssl.SSLError, ValueError, OSError) as error:
                problems.append(f"certificate {name} cannot be used: {error}")
            else:
                good[name] = text
    default = bundle.default if bundle.default in good else None
    return Bundle(good, default, tuple(problems))
