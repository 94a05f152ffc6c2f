"""The command tree of `drover` and its flags.

Nothing here may import what only some commands need; `drover --help` and shell completion must feel instant.
"""

from __future__ import annotations

from typing import Annotated

import typer

from drover.cli import program_flags
from drover.cli.commands import (
    environments,
    events,
    execute,
    hosts,
    inspect,
    lifecycle,
    login,
    logs,
    ps,
    secrets,
    stacks,
    up,
    volumes,
)
from drover.cli.config import DEFAULT_PATH
from drover.cli.group import WithAliases
from drover.cli.session import Options

app = typer.Typer(
    cls=WithAliases,
    name="drover",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Boxes and colours in the help would double the time of every start.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run containers on many hosts as one system.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"drover {version('drover')}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    config: Annotated[
        str, typer.Option("--config", "-c", envvar=["DROVER_CLIENT_CONFIG", "RANCHER_CLIENT_CONFIG"])
    ] = DEFAULT_PATH,
    environment: Annotated[
        str | None,
        typer.Option(
            "--environment",
            "--env",
            envvar=["DROVER_ENVIRONMENT", "RANCHER_ENVIRONMENT"],
            help="Id or name of the environment to work in.",
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(envvar=["DROVER_URL", "RANCHER_URL"], help="Address of the server.")
    ] = None,
    access_key: Annotated[
        str | None, typer.Option(envvar=["DROVER_ACCESS_KEY", "RANCHER_ACCESS_KEY"], help="Public part of the API key.")
    ] = None,
    secret_key: Annotated[
        str | None,
        typer.Option(
            envvar=["DROVER_SECRET_KEY", "RANCHER_SECRET_KEY"],
            help="Secret part of the API key. A variable or the configuration file keeps it out of process lists.",
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Return only when the work is done.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", "--wait-timeout", help="Give up waiting after so many seconds.", metavar="S")
    ] = 600.0,
    wait_state: Annotated[
        str | None, typer.Option(help="State to wait for; by default the one that the command leads to.")
    ] = None,
    debug: Annotated[
        bool, typer.Option(envvar=["DROVER_CLIENT_DEBUG", "RANCHER_CLIENT_DEBUG"], help="Show requests.")
    ] = False,
    request_timeout: Annotated[
        float,
        typer.Option(
            envvar=["DROVER_CLIENT_TIMEOUT", "RANCHER_CLIENT_TIMEOUT"], help="Seconds for one request.", metavar="S"
        ),
    ] = 30.0,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    ctx.obj = Options(
        config=config,
        environment=environment,
        url=url,
        access_key=access_key,
        secret_key=secret_key,
        wait=wait,
        timeout=timeout,
        wait_state=wait_state,
        debug=debug,
        request_timeout=request_timeout,
    )


login.register(app)
up.register(app)
ps.register(app)
app.add_typer(stacks.app, name="stacks")
app.add_typer(ps.services, name="services")
app.add_typer(hosts.app, name="hosts")
app.add_typer(environments.app, name="environment")
lifecycle.register(app)
logs.register(app)
execute.register(app)
inspect.register(app)
events.register(app)
stacks.register(app)
app.add_typer(secrets.app, name="secrets")
app.add_typer(volumes.app, name="volumes")
program_flags.register(app)
