"""Foreign CNI plug-ins, by the exec protocol: configuration on stdin, parameters in the environment.

Versions 0.1.0 to 1.1.0 of the protocol. From 0.4.0 on a plug-in is given the result of the one before it, also when
the interface is removed, so results are kept per container.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from drover.host.network.attach.configs import PluginConfig
from drover.host.network.attach.files import read_json, write_atomically
from drover.host.network.attach.plan import AttachError
from drover.host.network.attach.wanted import Wish
from drover.host.network.names import INTERFACE

TIMEOUT = 60.0
_PASSED = ("PATH", "HOME", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a plug-in is told besides its configuration. An empty `namespace` says: it is gone."""

    command: str
    container: str
    namespace: str
    arguments: str


def arguments_of(wish: Wish) -> str:
    """`CNI_ARGS` as Rancher 1.6's plug-ins read them."""
    return ";".join(
        (
            "IgnoreUnknown=1",
            "DOCKER=true",
            f"RancherContainerUUID={_plain(wish.uuid)}",
            f"LinkMTUOverhead={_plain(wish.overhead)}",
            f"MACAddress={_plain(wish.mac)}",
            f"IPAddress={_plain(wish.address)}",
        )
    )


def to_v02(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """A result of any version in the 0.2.0 form with its first IPv4 address; None when it has none."""
    ip4 = result.get("ip4")
    if isinstance(ip4, dict) and ip4.get("ip"):
        return {"ip4": ip4, "dns": result.get("dns") or {}}
    for each in result.get("ips") or ():
        address = str(each.get("address") or "")
        if address and ":" not in address:
            found: dict[str, Any] = {"ip": address}
            if each.get("gateway"):
                found["gateway"] = each["gateway"]
            routes = [route for route in result.get("routes") or () if ":" not in str(route.get("dst"))]
            return {"ip4": found | ({"routes": routes} if routes else {}), "dns": result.get("dns") or {}}
    return None


class ForeignPlugins:
    """Runs plug-ins found on the search path; remembers their results below `memory`."""

    def __init__(self, *, search_path: str, memory: Path) -> None:
        self._search_path = search_path
        self._memory = memory

    async def add(self, plugin: PluginConfig, wish: Wish, namespace: str, previous: Any) -> dict[str, Any]:
        """The plug-in's own result. Raises AttachError with the plug-in's words."""
        invocation = Invocation("ADD", wish.container, namespace, arguments_of(wish))
        result = await self._run(plugin, invocation, previous)
        if not isinstance(result, dict):
            raise AttachError(f"CNI plug-in {plugin.type} printed no result")
        write_atomically(self._result_file(wish.container, plugin), msgspec.json.encode(result), mode=0o600)
        return result

    async def delete(self, plugins: Sequence[PluginConfig], wish: Wish, namespace: str) -> None:
        """In reverse order. All are asked, whatever one of them answers; then raises AttachError for the first.

        A plug-in that has not run for the container is left out.
        """
        errors: list[AttachError] = []
        for plugin in reversed(plugins):
            previous = read_json(self._result_file(wish.container, plugin))
            if previous is None:
                continue
            try:
                await self._run(plugin, Invocation("DEL", wish.container, namespace, arguments_of(wish)), previous)
            except AttachError as error:
                errors.append(error)
        shutil.rmtree(self._memory / wish.container, ignore_errors=True)
        if errors:
            raise errors[0]

    def attached(self, container: str) -> bool:
        """Whether a plug-in has run for the container and was not undone."""
        return (self._memory / container).is_dir()

    def remembered(self) -> list[str]:
        """The containers for which plug-ins have run."""
        return sorted(each.name for each in self._memory.iterdir()) if self._memory.is_dir() else []

    def _result_file(self, container: str, plugin: PluginConfig) -> Path:
        return self._memory / container / f"{plugin.file}.{plugin.type}".replace("/", "_")

    async def _run(self, plugin: PluginConfig, invocation: Invocation, previous: Any) -> Any:
        program = self._find(plugin.type)
        content = dict(plugin.content)
        if previous is not None and _version(content) >= (0, 4, 0):
            content["prevResult"] = previous
        environment = {name: os.environ[name] for name in _PASSED if name in os.environ} | {
            "CNI_COMMAND": invocation.command,
            "CNI_CONTAINERID": invocation.container,
            "CNI_NETNS": invocation.namespace,
            "CNI_IFNAME": INTERFACE,
            "CNI_PATH": self._search_path,
            "CNI_ARGS": invocation.arguments,
        }
        process = await asyncio.create_subprocess_exec(
            program,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        try:
            async with asyncio.timeout(TIMEOUT):
                output, errors = await process.communicate(msgspec.json.encode(content))
        except TimeoutError as error:
            raise AttachError(f"CNI plug-in {plugin.type} did not finish within {TIMEOUT:.0f} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        answer = _decoded(output)
        if process.returncode != 0:
            said = (answer or {}).get("msg") if isinstance(answer, dict) else None
            text = said or errors.decode("utf-8", "replace").strip() or f"exit status {process.returncode}"
            raise AttachError(f"CNI plug-in {plugin.type} failed: {text}")
        return answer

    def _find(self, kind: str) -> str:
        """Only a name: a configuration must not choose a program outside of the search path."""
        if kind and "/" not in kind and kind not in (".", ".."):
            for folder in self._search_path.split(":"):
                program = Path(folder) / kind
                if program.is_file() and os.access(program, os.X_OK):
                    return str(program)
        raise AttachError(
            f"failed to find CNI plug-in {kind!r} in {self._search_path}: is the network driver's stack running here?"
        )


def _version(content: Mapping[str, Any]) -> tuple[int, ...]:
    parts = str(content.get("cniVersion") or "0.1.0").split(".")
    return tuple(int(part) if part.isdigit() else 0 for part in parts)


def _decoded(output: bytes) -> Any:
    try:
        return msgspec.json.decode(output) if output.strip() else None
    except msgspec.DecodeError:
        return None


def _plain(value: str) -> str:
    """Label values are the users'; a separator in one would add an argument."""
    return value.replace(";", "").replace("=", "")
