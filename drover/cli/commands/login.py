"""`login`, `config` and `password`: which server, key and environment to use, and who may."""

from __future__ import annotations

import asyncio
import dataclasses
import platform
from typing import TYPE_CHECKING, Annotated

import typer

from drover.cli.config import Config, read_config, write_config
from drover.cli.exits import UsageError
from drover.cli.session import Options, finish, options_of, resolve

if TYPE_CHECKING:
    from drover.client.resource import Resource


def register(app: typer.Typer) -> None:
    app.command("login")(login)
    app.command("config")(config)
    app.command("password")(password)


def login(
    ctx: typer.Context,
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help="Address of the server.")] = None,
    username: Annotated[str | None, typer.Option("--username", "-u", envvar="DROVER_USERNAME")] = None,
    password_stdin: Annotated[bool, typer.Option(help="Read the password from standard input.")] = False,
    key_name: Annotated[str, typer.Option(help="Name of the API key that is created.")] = "",
) -> None:
    """Log in with a user name and password, and store an API key for later commands.

    The password itself is not stored. Delete the key in the web UI, or with the API, to revoke the login.
    """
    options = options_of(ctx)
    stored = read_config(options.config_path)
    server = url or options.url or stored.url or typer.prompt("Server address")
    user = username or typer.prompt("User name")
    if password_stdin:
        password = typer.get_text_stream("stdin").readline().rstrip("\n")
    else:
        password = typer.prompt("Password", hide_input=True)
    name = key_name or f"drover on {platform.node() or 'unknown host'}"
    finish(lambda: asyncio.run(_login(options, server, user, password, name)))


def config(
    ctx: typer.Context,
    show: Annotated[bool, typer.Option("--print", "-p", help="Show the configuration instead.")] = False,
) -> None:
    """Store server address and API key. Asks for what no flag gives."""
    options = options_of(ctx)
    if show:
        finish(lambda: _print_config(options))
    stored = read_config(options.config_path)
    url = options.url or typer.prompt("URL", default=stored.url or None)
    access_key = options.access_key or typer.prompt("Access Key", default=stored.access_key or None)
    secret_key = options.secret_key or typer.prompt(
        "Secret Key", default=stored.secret_key or None, hide_input=True, show_default=False
    )
    entered = Config(url, access_key, secret_key)
    finish(lambda: asyncio.run(_configure(options, entered)))


def password(
    ctx: typer.Context,
    username: Annotated[str | None, typer.Option("--username", "-u", envvar="DROVER_USERNAME")] = None,
    from_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the old and the new password, a line each, from stdin.")
    ] = False,
) -> None:
    """Change the password of a local user."""
    options = options_of(ctx)
    url = resolve(options).url or typer.prompt("Server address")
    user = username or typer.prompt("User name")
    if from_stdin:
        lines = typer.get_text_stream("stdin")
        old, new = (lines.readline().rstrip("\n") for _ in range(2))
    else:
        old = typer.prompt("Old password", hide_input=True)
        new = typer.prompt("New password", hide_input=True, confirmation_prompt=True)
    finish(lambda: asyncio.run(_change_password(options, url, user, old, new)))


async def _change_password(options: Options, url: str, user: str, old: str, new: str) -> None:
    from drover.client.login import change_password

    if not new:
        raise UsageError("the new password is empty")
    await change_password(url, user, old, new, timeout=options.request_timeout)
    typer.echo(f"The password of {user} is changed. API keys stay valid.")


async def _login(options: Options, url: str, user: str, password: str, key_name: str) -> None:
    from drover.client.api import ApiClient
    from drover.client.login import create_api_key, login_token

    token = await login_token(url, user, password, timeout=options.request_timeout)
    async with ApiClient(url, token=token, timeout=options.request_timeout) as client:
        key = await create_api_key(client, name=key_name, description="Made by `drover login`")
        projects = await client.unscoped().list("project")
        address = client.address.api
    chosen = _choose(projects, options.environment)
    write_config(options.config_path, Config(address, key.access_key, key.secret_key, chosen))
    typer.echo(f"Logged in to {address} as {user}. The key is stored in {options.config_path}.")


async def _configure(options: Options, entered: Config) -> None:
    from drover.client.api import ApiClient

    async with ApiClient(entered.url, entered.access_key, entered.secret_key) as client:
        projects = await client.unscoped().list("project")
        address = client.address.api
    chosen = _choose(projects, options.environment)
    write_config(options.config_path, dataclasses.replace(entered, url=address, environment=chosen))
    typer.echo(f"Saved in {options.config_path}.")


def _choose(projects: list[Resource], wanted: str | None) -> str:
    """The environment to work in from now on: the wanted one, the only one, or what the user picks."""
    if wanted:
        for project in projects:
            if wanted in (project.id, project.name):
                return project.id
        raise UsageError(f"there is no environment {wanted!r} for this account")
    if not projects:
        return ""
    if len(projects) == 1 or not _interactive():
        return projects[0].id
    for number, project in enumerate(projects, 1):
        typer.echo(f"[{number}] {project.name} ({project.id})")
    number = int(typer.prompt("Environment", type=int, default=1))
    if not 1 <= number <= len(projects):
        raise UsageError(f"choose a number from 1 to {len(projects)}")
    return projects[number - 1].id


def _print_config(options: Options) -> None:
    from drover.cli.output import print_value

    stored = read_config(options.config_path)
    shown = {
        "url": stored.url,
        "accessKey": stored.access_key,
        "secretKey": "***" if stored.secret_key else "",
        "environment": stored.environment,
        "path": str(options.config_path),
    }
    print_value(shown, "json")


def _interactive() -> bool:
    import sys

    return sys.stdin.isatty()
