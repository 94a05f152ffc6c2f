"""Labels that say in which cloud, region and zone the host runs.

Asked once from the cloud's metadata address; the answer is kept in a file, because it cannot change. A machine
that runs in no cloud gives up silently.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import msgspec
import structlog

from drover.host.agent.identity import write_private
from drover.host.agent.server import read_body

log = structlog.get_logger(__name__)

PROVIDER = "io.rancher.host.provider"
REGION = "io.rancher.host.region"
ZONE = "io.rancher.host.zone"

AWS_URL = "http://169.254.169.254/latest/dynamic/instance-identity/document"
ALIYUN_URL = "http://100.100.100.200/latest/meta-data"
TIMEOUT = aiohttp.ClientTimeout(total=5, sock_connect=3)
MAX_ANSWER = 64 * 1024
TRIES = 2
_NAME = re.compile(r"[a-z0-9-]{1,64}")
PAUSE = 30.0


class _AwsIdentity(msgspec.Struct, rename="camel"):
    region: str
    availability_zone: str = ""


class _Stored(msgspec.Struct):
    label: dict[str, str] = {}


class CloudLabels:
    """The labels, empty until known."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.labels: Mapping[str, str] = _load(path)

    async def detect(self, session: aiohttp.ClientSession) -> None:
        """Asks the clouds that are known, unless an earlier agent found the answer."""
        if self.labels:
            return
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(PAUSE)
            labels = await _aws(session) or await _aliyun(session)
            if labels:
                self.labels = labels
                write_private(self._path, msgspec.json.encode(_Stored(labels)), mode=0o644)
                log.info("cloud.detected", provider=labels[PROVIDER], region=labels.get(REGION))
                return


async def _aws(session: aiohttp.ClientSession) -> dict[str, str]:
    try:
        identity = msgspec.json.decode(await _get(session, AWS_URL), type=_AwsIdentity)
    except msgspec.DecodeError:
        return {}
    return {PROVIDER: "aws", REGION: identity.region, ZONE: identity.availability_zone}


async def _aliyun(session: aiohttp.ClientSession) -> dict[str, str]:
    region = (await _get(session, f"{ALIYUN_URL}/region-id")).decode("utf-8", "replace").strip()
    if not _NAME.fullmatch(region):
        # Something else lives at this address.
        return {}
    zone = (await _get(session, f"{ALIYUN_URL}/zone-id")).decode("utf-8", "replace").strip()
    return {PROVIDER: "aliyun", REGION: region, ZONE: zone}


async def _get(session: aiohttp.ClientSession, url: str) -> bytes:
    """The answer, or nothing: no such address is the normal case outside a cloud."""
    try:
        async with session.get(url, timeout=TIMEOUT, allow_redirects=False) as response:
            return await read_body(response, MAX_ANSWER) if response.status == 200 else b""
    except (aiohttp.ClientError, TimeoutError, OSError):
        return b""


def _load(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Stored).label
    except (FileNotFoundError, msgspec.DecodeError):
        return {}
