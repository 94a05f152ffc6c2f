"""The programs that are subcommands of `drover`: server, agent, what runs on each host, simulator.

Each declares its settings as a dataclass in its own room. A host runs eight of them for ever, so nothing here may
import the option parser: its libraries would take memory in each, and a fifth of the time until it works.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drover.cli.exits import Exit, complain, status_of

if TYPE_CHECKING:
    from drover.common.settings import SettingField


@dataclass(frozen=True, slots=True)
class Program:
    """Where a program lives; `settings` and `run` are `module:name`, `positional` a setting given without a flag."""

    name: str
    help: str
    settings: str
    run: str
    positional: str | None = None


PROGRAMS = (
    Program(
        name="server",
        help="Run the server: API, web UI and orchestration.",
        settings="drover.server.app:ServerSettings",
        run="drover.server.app:run_server",
    ),
    Program(
        name="agent",
        help="Run the agent of this machine, or register the machine when given a registration address.",
        settings="drover.host.agent.settings:AgentSettings",
        run="drover.host.agent.agent:run_agent",
        positional="registration_url",
    ),
    Program(
        name="metadata",
        help="Run the metadata server of this host.",
        settings="drover.host.metadata.settings:MetadataSettings",
        run="drover.host.metadata.program:run_metadata",
    ),
    Program(
        name="network-manager",
        help="Attach this host's containers to their networks, publish their ports, enforce policies.",
        settings="drover.host.network.settings:NetworkManagerSettings",
        run="drover.host.network.program:run_network_manager",
    ),
    Program(
        name="balancer",
        help="Run the load balancer of a balancer service.",
        settings="drover.host.balancer.settings:BalancerSettings",
        run="drover.host.balancer.program:run_balancer",
    ),
    Program(
        name="scheduler",
        help="Say where containers may run, when the server asks (once an environment).",
        settings="drover.host.scheduler.settings:SchedulerSettings",
        run="drover.host.scheduler.program:run_scheduler",
    ),
    Program(
        name="simulate",
        help="Run simulated hosts that speak the protocol of real ones.",
        settings="drover.simulator:SimulatorSettings",
        run="drover.simulator:run_simulator",
    ),
    Program(
        name="vxlan",
        help="Route between the containers of this host and those of others through VXLAN.",
        settings="drover.host.network.routers.settings:VxlanSettings",
        run="drover.host.network.routers.vxlan:run_vxlan",
    ),
    Program(
        name="dns",
        help="Answer DNS questions of this host's containers.",
        settings="drover.host.dns.settings:DnsSettings",
        run="drover.host.dns.program:run_dns",
    ),
    Program(
        name="hosts-file",
        help="Keep a container's hosts file current, for programs that do not ask a name server.",
        settings="drover.host.dns.hosts_file:HostsFileSettings",
        run="drover.host.dns.hosts_file:run_hosts_file",
    ),
    Program(
        name="healthcheck",
        help="Check the health of containers, and report it to the server.",
        settings="drover.host.health.settings:HealthcheckSettings",
        run="drover.host.health.program:run_healthcheck",
    ),
    Program(
        name="ipsec",
        help="Route between the containers of this host and those of others through encrypted tunnels.",
        settings="drover.host.network.routers.settings:IpsecSettings",
        run="drover.host.network.routers.ipsec:run_ipsec",
    ),
    Program(
        name="charon",
        help="Carry the encrypted tunnels of this host; `drover ipsec` says which.",
        settings="drover.host.network.routers.settings:CharonSettings",
        run="drover.host.network.routers.separate:run_charon",
    ),
    Program(
        name="connectivity-check",
        help="Ask the routers of the other hosts whether they can be reached, and answer this host's health check.",
        settings="drover.host.network.routers.settings:ConnectivitySettings",
        run="drover.host.network.routers.connectivity:run_connectivity_check",
    ),
)


def run_directly(arguments: Sequence[str]) -> None:
    """Run the program that is named first, if its flags are plain to see; else return, and the parser has its say.

    Whatever needs the parser (help, an argument without a flag, anything wrong) is left to it.
    """
    from drover.common.logging import LEVELS, LogFormat
    from drover.common.settings import describe

    program = next((each for each in PROGRAMS if arguments and each.name == arguments[0]), None)
    if program is None:
        return
    flags = _plain_flags(describe(load(program.settings)), arguments[1:])
    if flags is None:
        return
    level = flags.pop("log_level", None) or os.environ.get("DROVER_LOG_LEVEL") or "info"
    style = flags.pop("log_format", None) or os.environ.get("DROVER_LOG_FORMAT") or "text"
    if level.lower() not in LEVELS or style not in tuple(LogFormat):
        return
    sys.exit(status_of(lambda: run(program, flags, level, style)))


def _plain_flags(fields: tuple[SettingField, ...], arguments: Sequence[str]) -> dict[str, Any] | None:
    """Values by name from `--flag value`, `--flag=value`, `--switch` and `--no-switch`; None when there is more."""
    known = {field.flag: field for field in fields}
    found: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        field = known.get(flag)
        negated = known.get(flag.replace("--no-", "--", 1))
        if field is not None and field.is_switch and not equals:
            found[field.name] = True
        elif field is None and negated is not None and negated.is_switch and not equals:
            found[negated.name] = False
        elif (field is not None and not field.is_switch) or flag in ("--log-level", "--log-format"):
            if not equals and (not rest or rest[0].startswith("-")):
                return None
            given = value if equals else rest.pop(0)
            if field is not None and field.repeated:
                found.setdefault(field.name, []).append(given)
            else:
                found[flag[2:].replace("-", "_")] = given
        else:
            return None
    return found


def run(program: Program, flags: dict[str, object], level: str, style: str) -> int | None:
    """Run until it ends. Returns an exit status if that is not the usual one."""
    from drover.common.logging import configure_logging
    from drover.common.settings import load_settings

    settings = load_settings(load(program.settings), flags=flags)
    try:
        configure_logging(level, style, program=program.name)
    except ValueError as error:
        complain(str(error))
        return Exit.USAGE
    start: Callable[[object], Coroutine[Any, Any, None]] = load(program.run)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(start(settings))
    return None


def load(place: str) -> Any:
    """What ``module:name`` stands for."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """libuv's loop: the programs move many small messages. Without it on a platform, the standard one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
