"""`inspect`: everything the server says about a resource."""

from __future__ import annotations

from typing import Annotated

import typer

from drover.cli.flags import Names, Types
from drover.cli.output import print_value
from drover.cli.session import Session, run

INSPECTABLE = ("service", "container", "host", "project", "stack", "volume", "secret")


def register(app: typer.Typer) -> None:
    app.command("inspect")(inspect)


def inspect(
    ctx: typer.Context,
    names: Names,
    types: Types = None,
    links: Annotated[bool, typer.Option("--links", help="Include links and actions.")] = False,
    style: Annotated[str, typer.Option("--format", help="`json`, `yaml`, or a template.")] = "json",
) -> None:
    """Print resources as JSON or YAML. Fails when one of them does not exist."""

    async def work(session: Session) -> None:
        from drover.client.lookup import lookup

        found = [await lookup(session.client, name, types or INSPECTABLE) for name in names]
        for resource in found:
            hidden = () if links else ("links", "actions")
            print_value({key: value for key, value in resource.items() if key not in hidden}, style)

    run(ctx, work)
