"""Kernel settings that the data path needs.

/proc/sys is read-only in a container without full privileges. The host's own mount of it is not: it is reached
through the root of the Docker engine's process (`pid: host` and the capability SYS_PTRACE), and which network
namespace's settings it shows depends on who opens it, not on whose mount it is.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

SETTINGS = Path("/proc/sys")
GLOBAL = ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables")


class Sysctls:
    """`engine()` is a process in the host's mount namespace. `problems` says what could not be set."""

    def __init__(self, engine: Callable[[], int]) -> None:
        self._engine = engine
        self.problems: dict[str, str] = {}

    def ensure(self, bridges: Iterable[str]) -> None:
        names = [*GLOBAL, *(f"net/ipv4/conf/{bridge}/route_localnet" for bridge in bridges)]
        for name in names:
            problem = self._set(name, "1")
            if problem and self.problems.get(name) != problem:
                log.warning("sysctl.not.set", name=name, problem=problem, effect=_effect(name))
            if problem:
                self.problems[name] = problem
            else:
                self.problems.pop(name, None)

    def close_loopback(self, bridges: Iterable[str]) -> None:
        """Without our rules nobody guards what `route_localnet` opens."""
        for bridge in bridges:
            problem = self._set(f"net/ipv4/conf/{bridge}/route_localnet", "0")
            if problem:
                log.warning("sysctl.not.set", name=f"route_localnet of {bridge}", problem=problem)

    def _set(self, name: str, value: str) -> str:
        """Empty when the setting has the value now."""
        try:
            if (SETTINGS / name).read_text().strip() == value:
                return ""
            (SETTINGS / name).write_text(value)
        except OSError as error:
            if error.errno != errno.EROFS:
                return error.strerror or str(error)
        else:
            return ""
        try:
            Path(f"/proc/{self._engine()}/root/proc/sys/{name}").write_text(value)
        except OSError as error:
            return error.strerror or str(error)
        return ""


def _effect(name: str) -> str:
    if name.startswith("net/bridge"):
        return "policies between containers of one host and access to their own published ports do not work"
    if name.endswith("route_localnet"):
        return "published ports do not answer on 127.0.0.1"
    return "containers do not reach other hosts"
