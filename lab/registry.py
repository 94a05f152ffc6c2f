"""The lab's registry: Debian's `docker-registry`, so that hosts pull images the way they do in production.

Blobs live in the lab cache, which survives `down`: an image is built and pushed once a machine, not once a lab.
"""

import asyncio
import io
import json
import os
import time
from collections.abc import Callable

import aiohttp

from lab.engine import tail
from lab.errors import LabError
from lab.images.build import BuiltImage
from lab.layout import LabLayout
from lab.processes import ProcessRecord, spawn

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_TIMEOUT = aiohttp.ClientTimeout(total=60)


async def start_registry(
    layout: LabLayout, address: str, *, remember: Callable[[ProcessRecord], None], timeout: float = 20.0
) -> None:
    """Start the registry on `address` (host:port) and wait until it answers."""
    storage = layout.cache / "registry"
    storage.mkdir(parents=True, exist_ok=True)
    # The registry reads JSON too, for JSON is YAML.
    config = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
        "http": {"addr": address},
    }
    path = layout.run / "registry.json"
    path.write_text(json.dumps(config))
    log = layout.run / "registry.log"
    # The registry takes every REGISTRY_ variable of its environment for a setting.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("REGISTRY_")}
    process = spawn(
        ("docker-registry", "serve", str(path)), role="registry", tag=layout.tag, log=log, environment=environment
    )
    remember(process)
    deadline = time.monotonic() + timeout
    while not await _answers(address):
        if not process.alive() or time.monotonic() > deadline:
            raise LabError(f"the registry did not start on {address}: {tail(log)}")
        await asyncio.sleep(0.05)


async def push(image: BuiltImage, registry: str) -> None:
    """Put the image into the registry as `<registry>/<image.name>:latest`, unless exactly it is there already."""
    base = f"http://{registry}/v2/{image.name}"
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        headers = {"Accept": _MANIFEST}
        async with session.head(f"{base}/manifests/latest", headers=headers) as response:
            if response.status == 200 and response.headers.get("Docker-Content-Digest") == image.manifest_digest:
                return
        await _push_blob(session, base, image.config_digest, image.config)
        await _push_blob(session, base, image.layer_digest, image.layer.read_bytes())
        headers = {"Content-Type": _MANIFEST}
        async with session.put(f"{base}/manifests/latest", data=image.manifest, headers=headers) as response:
            await _expect(response, 201)


async def _push_blob(session: aiohttp.ClientSession, base: str, digest: str, content: bytes) -> None:
    async with session.head(f"{base}/blobs/{digest}") as response:
        if response.status == 200:
            return
    async with session.post(f"{base}/blobs/uploads/") as response:
        await _expect(response, 202)
        location = response.headers["Location"]
    separator = "&" if "?" in location else "?"
    url = f"{location}{separator}digest={digest}"
    headers = {"Content-Type": "application/octet-stream"}
    async with session.put(url, data=io.BytesIO(content), headers=headers) as response:
        await _expect(response, 201)


async def _expect(response: aiohttp.ClientResponse, status: int) -> None:
    if response.status != status:
        raise LabError(f"registry: {response.method} {response.url}: {response.status}: {await response.text()}")


async def _answers(address: str) -> bool:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
            session.get(f"http://{address}/v2/") as response,
        ):
            return response.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


def image_reference(registry: str, name: str) -> str:
    """What to write in a Compose file: `lab/web` -> `10.213.0.1:5000/lab/web:latest`."""
    return f"{registry}/{name}:latest"
