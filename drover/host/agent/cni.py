"""Addresses of containers on managed networks.

The agent does not configure these networks: the network manager on the same host does, and leaves the result in
a file per container start. This module waits for that file and says clearly when nobody will ever write it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from drover.host.agent.errors import AgentError
from drover.host.agent.images import Progress

FIRST_DELAY = 0.01
LONGEST_DELAY = 0.5


class _Ip4(msgspec.Struct):
    ip: str | None = None


class _Outcome(msgspec.Struct):
    """The CNI result, or the network manager's error."""

    ip4: _Ip4 | None = None
    error: str | None = None


class ManagedNetwork:
    """This host's managed network as the network manager's state folder shows it. Durations in seconds."""

    def __init__(self, state_dir: Path, *, wait: float) -> None:
        self._state_dir = state_dir
        self._wait = wait

    async def require_manager(self, network: str, progress: Progress) -> None:
        """Waits for the network manager of this host. Raises AgentError when none appears.

        The state folder is made by the network manager, so it stands for it. Waiting here, before the
        container exists, keeps a host whose infrastructure is still starting from failing its first starts.
        """
        deadline = time.monotonic() + self._wait
        told = False
        while not self._state_dir.is_dir():
            if not told:
                told = True
                await progress(f"Waiting for the network manager of network {network}", None)
            if time.monotonic() >= deadline:
                raise AgentError(
                    f"No network manager runs on this host, so the container cannot join network {network}: "
                    "start the network services stack of this environment (and look at its containers on this "
                    "host), then start the container again"
                )
            await asyncio.sleep(LONGEST_DELAY)

    async def address(self, inspect: Mapping[str, Any]) -> str:
        """The container's address, without prefix length; empty when it has exited already.

        Raises AgentError with the network manager's own text, or on a timeout.
        """
        state: Mapping[str, Any] = inspect.get("State") or {}
        if not state.get("Pid"):
            return ""
        path = self._state_dir / str(inspect["Id"]) / str(state.get("StartedAt") or "")
        deadline = time.monotonic() + self._wait
        delay = FIRST_DELAY
        while True:
            outcome = _read(path)
            if outcome is not None and outcome.error:
                raise AgentError(outcome.error)
            if outcome is not None and outcome.ip4 and outcome.ip4.ip:
                return outcome.ip4.ip.split("/", 1)[0]
            if not _alive(int(state["Pid"])):
                return ""
            if time.monotonic() >= deadline:
                raise AgentError(
                    "Timeout getting IP address: the network manager of this host has not attached the "
                    f"container after {self._wait:.0f} s; look at the logs of the network-manager container"
                )
            await asyncio.sleep(delay)
            delay = min(LONGEST_DELAY, delay * 2)


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _read(path: Path) -> _Outcome | None:
    """None until the file is there. It is renamed into place, so what can be read is complete."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return msgspec.json.decode(content, type=_Outcome)
    except msgspec.DecodeError as error:
        raise AgentError(f"the network manager left an unreadable result in {path}: {error}") from error
