"""`volumes`: volumes of the environment."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from drover.cli.flags import All, FormatFlag, Names, Quiet, Yes, list_filters
from drover.cli.group import list_group
from drover.cli.output import Format, Row, print_rows
from drover.cli.session import Session, confirm, run

HEADERS = ("ID", "NAME", "STATE", "DRIVER", "DETAIL")

app = list_group("Volumes of the environment.")


@app.command("ls")
def list_volumes(ctx: typer.Context, show_all: All = False, quiet: Quiet = False, style: FormatFlag = "") -> None:
    """List volumes."""

    async def work(session: Session) -> None:
        filters = list_filters(show_all=show_all, system=True)
        # A volume that no container uses at the moment is inactive but very much of interest.
        if not show_all:
            filters["state_ne"] = ["removing"]
        rows = [
            Row(
                volume.id,
                [volume.id, volume.name, volume.state, volume.text("driver"), volume.transitioning_message],
                {"Volume": volume.fields},
            )
            for volume in await session.client.list("volume", filters)
        ]
        print_rows(HEADERS, rows, Format(quiet, style))

    run(ctx, work)


@app.command("create")
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    driver: Annotated[str | None, typer.Option("--driver", help="Name of the volume driver.")] = None,
    opts: Annotated[list[str] | None, typer.Option("--opt", metavar="KEY=VALUE", help="Option of the driver.")] = None,
) -> None:
    """Create a volume and print its id."""
    pairs = [opt.partition("=") for opt in opts or []]
    body: dict[str, Any] = {"name": name, "driverOpts": {key: value for key, _, value in pairs}}
    if driver is not None:
        body["driver"] = driver

    async def work(session: Session) -> None:
        typer.echo((await session.client.create("volume", body)).id)

    run(ctx, work)


@app.command("rm")
def remove(ctx: typer.Context, names: Names, yes: Yes = False) -> None:
    """Remove volumes with their data."""

    async def work(session: Session) -> None:
        from drover.client.lookup import lookup

        volumes = [await lookup(session.client, name, ["volume"]) for name in names]
        confirm(f"Remove {', '.join(volume.label for volume in volumes)} with all data?", yes=yes)
        for volume in volumes:
            await session.client.delete(volume)
            typer.echo(volume.id)

    run(ctx, work)
