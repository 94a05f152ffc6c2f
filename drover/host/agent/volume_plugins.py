"""Storage drivers that run as containers on this host and listen on a unix socket.

They speak Docker's volume plug-in protocol plus two calls, Attach and Capabilities. A driver of scope `flex` is
driven by the agent alone: Docker sees a plain bind mount.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import aiohttp
import msgspec

from drover.host.agent.errors import AgentError
from drover.host.agent.server import read_body

RANCHER_DRIVERS = frozenset({"rancher-ebs", "rancher-nfs", "rancher-efs", "rancher-secrets", "secrets-bridge-v2"})
CALL_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=5)
MAX_ANSWER = 1024 * 1024


class _Capabilities(msgspec.Struct, rename="pascal"):
    scope: str | None = None


class _Answer(msgspec.Struct, rename="pascal"):
    err: str | None = None
    mountpoint: str | None = None
    capabilities: _Capabilities | None = None


class VolumePlugin:
    """One driver's socket. Every call raises AgentError when the driver is absent or refuses."""

    def __init__(self, driver: str, socket: Path) -> None:
        self._driver = driver
        self._socket = socket

    @classmethod
    def of(cls, driver: str, folder: Path) -> VolumePlugin | None:
        """The plug-in of a driver; None for drivers that only Docker knows.

        Raises AgentError when the driver is one of the platform's but does not run here.
        """
        if driver not in RANCHER_DRIVERS:
            return None
        socket = folder / f"{driver}.sock"
        if not socket.is_socket():
            raise AgentError(
                f"Storage driver {driver} does not run on this host ({socket} is missing): "
                "start its stack in this environment"
            )
        return cls(driver, socket)

    async def is_flex(self) -> bool:
        answer = await self._call("Capabilities", {})
        return bool(answer.capabilities and answer.capabilities.scope == "flex")

    async def create(self, name: str, options: Mapping[str, str]) -> None:
        await self._call("Create", {"Name": name, "Opts": dict(options)})

    async def attach(self, name: str, options: Mapping[str, str]) -> None:
        await self._call("Attach", {"Name": name, "Opts": dict(options)})

    async def mount(self, name: str, options: Mapping[str, str]) -> str:
        """Returns the mount point on the host."""
        answer = await self._call("Mount", {"Name": name, "Opts": dict(options)})
        if not answer.mountpoint:
            raise AgentError(f"Storage driver {self._driver} mounted {name} but named no mount point")
        return answer.mountpoint

    async def remove(self, name: str) -> None:
        await self._call("Remove", {"Name": name})

    async def _call(self, method: str, body: Mapping[str, object]) -> _Answer:
        connector = aiohttp.UnixConnector(str(self._socket))
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=CALL_TIMEOUT) as session,
                session.post(f"http://volume-plugin/VolumeDriver.{method}", json=body) as response,
            ):
                content = await read_body(response, MAX_ANSWER)
                answer = msgspec.json.decode(content or b"{}", type=_Answer)
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            raise AgentError(f"Storage driver {self._driver} failed at {method}: {error}") from error
        if answer.err:
            raise AgentError(answer.err)
        return answer
