"""From parsed options to a running command.

A command is a short function with its flags and an `async` body that gets a `Session`. Everything that all
commands share happens here: the connection from flags, environment and configuration file; one event loop; errors
as one line on standard error and an exit status.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

import typer

from drover.cli.config import DEFAULT_PATH, Config, read_config
from drover.cli.exits import Exit, UsageError, status_of
from drover.common.together import together

if TYPE_CHECKING:
    from drover.client.api import ApiClient
    from drover.client.resource import Resource
    from drover.client.wait import Goal


@dataclass(frozen=True, slots=True)
class Options:
    """The flags before the command's name."""

    config: str = DEFAULT_PATH
    environment: str | None = None
    url: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    wait: bool = False
    timeout: float = 600.0
    wait_state: str | None = None
    debug: bool = False
    request_timeout: float = 30.0

    @property
    def config_path(self) -> Path:
        return Path(self.config).expanduser()


@dataclass(frozen=True, slots=True)
class Session:
    """What a command works with."""

    client: ApiClient
    options: Options

    async def wait_for(
        self, resources: list[Resource], goal: Goal | None = None, *, timeout: float | None = None
    ) -> list[Resource]:
        """Wait for all resources over one subscription; the first failure ends the wait for all."""
        from drover.client.wait import in_state, settled

        wanted = goal or (in_state(self.options.wait_state) if self.options.wait_state else settled)
        limit = self.options.timeout if timeout is None else timeout
        pending = [resource for resource in resources if not wanted(resource)]
        if not pending:
            return resources
        async with self.client.watch() as watcher:
            done = await together(watcher.until(resource, wanted, timeout=limit) for resource in pending)
        latest = {resource.id: resource for resource in done}
        return [latest.get(resource.id, resource) for resource in resources]


def run(ctx: typer.Context, work: Callable[[Session], Awaitable[int | None]]) -> NoReturn:
    """Connect, do the work, exit with its status."""
    options = options_of(ctx)

    async def connected() -> int:
        async with open_client(options) as client:
            return await work(Session(client, options)) or Exit.OK

    finish(lambda: asyncio.run(connected()))


def finish(work: Callable[[], int | None]) -> NoReturn:
    """Exit with the status of `work`, or with the one of its error after printing it."""
    raise typer.Exit(status_of(work))


def options_of(ctx: typer.Context) -> Options:
    """The global flags of this invocation."""
    return cast(Options, ctx.find_root().obj or Options())


def resolve(options: Options) -> Config:
    """Flags and environment variables over the configuration file."""
    stored = read_config(options.config_path)
    url = options.url or stored.url
    # Keys belong to the server they were made for: an address from elsewhere does not get the stored ones.
    same_server = options.url is None or _server(options.url) == _server(stored.url)
    return Config(
        url=url,
        access_key=options.access_key or (stored.access_key if same_server else ""),
        secret_key=options.secret_key or (stored.secret_key if same_server else ""),
        environment=options.environment or (stored.environment if same_server else ""),
    )


def open_client(options: Options, *, token: str | None = None) -> ApiClient:
    """A client for the configured server. Raises UsageError when none is configured."""
    from drover.client.api import ApiClient

    config = resolve(options)
    if not config.url:
        raise UsageError("no server is configured: run `drover login URL`, or set DROVER_URL or RANCHER_URL")
    return ApiClient(
        config.url,
        config.access_key or None,
        config.secret_key or None,
        config.environment or None,
        token,
        timeout=options.request_timeout,
        trace=(lambda text: print(text, file=sys.stderr)) if options.debug else None,  # noqa: T201
    )


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person before something that cannot be undone; scripts (no terminal) are not asked."""
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    if not typer.confirm(question, err=True):
        raise typer.Exit(Exit.FAILURE)


def _server(url: str) -> str:
    from drover.client.urls import parse_address

    return parse_address(url).root if url else ""
