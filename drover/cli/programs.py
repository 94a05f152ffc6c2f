"""The programs that are subcommands of `drover`: server, agent, simulator.

Each declares its settings as a dataclass in its own room. The flags, variables and help texts here are made from
that declaration when the program is started or asked for help, so importing this module costs nothing, and a flag
cannot exist that the program does not know.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drover.cli.session import finish

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
        name="connectivity-check",
        help="Ask the routers of the other hosts whether they can be reached, and answer this host's health check.",
        settings="drover.host.network.routers.settings:ConnectivitySettings",
        run="drover.host.network.routers.connectivity:run_connectivity_check",
    ),
)

LogLevel = Annotated[str, typer.Option("--log-level", envvar="DROVER_LOG_LEVEL", help="debug, info, warning or error.")]
LogFormat = Annotated[str, typer.Option("--log-format", envvar="DROVER_LOG_FORMAT", help="text or json.")]


def register(app: typer.Typer) -> None:
    for program in PROGRAMS:
        # The real parser is made when the command runs; until then everything, --help too, passes through.
        app.command(
            program.name,
            help=program.help,
            add_help_option=False,
            context_settings={
                "ignore_unknown_options": True,
                "allow_extra_args": True,
                "allow_interspersed_args": False,
                "help_option_names": [],
            },
        )(_forward(program))


def run_directly(arguments: Sequence[str]) -> None:
    """Run the program that is named first, if its flags are plain to see; else return, and the parser has its say.

    A host runs eight of these for ever. The parser's libraries would take 9 MB of memory in each, and a fifth of the
    time until it works. Whatever needs them (help, an argument without a flag, anything wrong) is left to them.
    """
    from drover.common.logging import LEVELS, LogFormat
    from drover.common.settings import describe

    program = next((each for each in PROGRAMS if arguments and each.name == arguments[0]), None)
    if program is None:
        return
    flags = _plain_flags(describe(_load(program.settings)), arguments[1:])
    if flags is None:
        return
    level = flags.pop("log_level", None) or os.environ.get("DROVER_LOG_LEVEL") or "info"
    style = flags.pop("log_format", None) or os.environ.get("DROVER_LOG_FORMAT") or "text"
    if level.lower() not in LEVELS or style not in tuple(LogFormat):
        return
    try:
        finish(lambda: _run(program, flags, level, style))
    except typer.Exit as done:
        sys.exit(done.exit_code)


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


def program_app(program: Program) -> typer.Typer:
    """The command line of one program, with a flag for every setting."""
    from drover.common.settings import describe

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    fields = describe(_load(program.settings))
    app.command(program.name, help=program.help, context_settings={"help_option_names": ["-h", "--help"]})(
        _entry(program, fields)
    )
    return app


def _forward(program: Program) -> Callable[[typer.Context], None]:
    def forward(ctx: typer.Context) -> None:
        program_app(program)(args=ctx.args, prog_name=ctx.command_path)

    return forward


def _entry(program: Program, fields: tuple[SettingField, ...]) -> Callable[..., None]:
    """A function whose signature is the list of settings, which is what the option parser reads."""
    own = {field.name for field in fields}

    def entry(**values: Any) -> None:
        level, style = values["log_level"], values["log_format"]
        flags = {name: value or None if isinstance(value, list) else value for name, value in values.items()}
        finish(lambda: _run(program, {name: flags[name] for name in own}, level or "info", style or "text"))

    parameters = [_parameter(field, positional=field.name == program.positional) for field in fields]
    for name, annotation, default in (("log_level", LogLevel, "info"), ("log_format", LogFormat, "text")):
        if name not in own:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(inspect.Parameter(name, kind, annotation=annotation, default=default))
    entry.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return entry


def _parameter(field: SettingField, *, positional: bool) -> inspect.Parameter:
    shown = "" if field.default in (None, "", ()) or field.secret or field.is_switch else str(field.default)
    help_text = f"{field.help} Default: {shown}." if shown else field.help
    if field.choices:
        help_text = f"{help_text} One of {', '.join(field.choices)}.".strip()
    annotation: Any = bool | None if field.is_switch else list[str] | None if field.repeated else str | None
    # A comma list in a variable is split by the settings, not by the option parser, which would split at blanks.
    variables = None if field.repeated else list(field.environment)
    if field.repeated:
        help_text = f"{help_text} May be repeated; as variable {field.environment[0]} a comma list.".strip()
    if positional:
        option: Any = typer.Argument(metavar="[URL]", help=help_text, envvar=variables, show_default=False)
    elif field.is_switch:
        negative = field.flag.replace("--", "--no-", 1)
        option = typer.Option(
            f"{field.flag}/{negative}", help=help_text, envvar=variables, show_default=str(field.default).lower()
        )
    else:
        option = typer.Option(field.flag, help=help_text, envvar=variables, show_default=False)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[annotation, option], default=None
    )


def _run(program: Program, flags: dict[str, object], level: str, style: str) -> None:
    from drover.common.logging import configure_logging
    from drover.common.settings import load_settings

    settings = load_settings(_load(program.settings), flags=flags)
    try:
        configure_logging(level, style, program=program.name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    start: Callable[[object], Coroutine[Any, Any, None]] = _load(program.run)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(start(settings))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """libuv's loop: the programs move many small messages. Without it on a platform, the standard one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
