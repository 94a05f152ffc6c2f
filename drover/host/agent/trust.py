"""Trust in a server whose certificate no public CA signed.

The registration command carries the fingerprint of the server's CA (`CA_FINGERPRINT`). The CA itself is fetched over
the very connection that cannot be trusted yet, and installed only if it has that fingerprint.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import structlog

from drover.host.agent.errors import RegistrationError
from drover.host.agent.identity import write_private
from drover.host.agent.server import CA_FILE, read_body

log = structlog.get_logger(__name__)

TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=15)
MAX_CERTIFICATE = 64 * 1024
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


async def trust_server(registration_url: str, *, state_dir: Path, environ: Mapping[str, str] | None = None) -> None:
    """Installs the server's CA where the operator gave its fingerprint. Raises RegistrationError on a mismatch."""
    fingerprint = (os.environ if environ is None else environ).get("CA_FINGERPRINT", "")
    target = state_dir.parent / CA_FILE
    if not fingerprint or not registration_url.startswith("https://") or target.exists():
        return
    url = f"{registration_url.partition('/scripts/')[0]}/scripts/ca.crt"
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT, trust_env=True) as session,
            session.get(url, ssl=False, allow_redirects=False) as response,
        ):
            content = await read_body(response, MAX_CERTIFICATE) if response.status == 200 else b""
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        log.warning("ca.unavailable", url=url, error=str(error))
        return
    if not content:
        # Only servers with a CA of their own serve it; others are checked against the system's.
        return
    if not matches(content.decode("utf-8", "replace"), fingerprint):
        raise RegistrationError(
            "The server's CA does not have the fingerprint of the registration command: somebody may be in "
            "between. Copy the command again from a trusted place"
        )
    write_private(target, content, mode=0o644)
    log.info("ca.installed", path=str(target))


def matches(certificate: str, fingerprint: str) -> bool:
    """Whether the first certificate of a PEM text has this SHA-1 fingerprint (`AA:BB:…`)."""
    found = _PEM.search(certificate)
    if found is None:
        return False
    try:
        der = base64.b64decode(found.group(1))
    except binascii.Error:
        return False
    # SHA-1 is what the command carries; a second preimage is still out of reach.
    digest = hashlib.sha1(der, usedforsecurity=False).hexdigest()
    return hmac.compare_digest(digest, fingerprint.replace(":", "").strip().lower())
