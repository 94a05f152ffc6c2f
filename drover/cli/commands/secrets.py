"""`secrets`: secrets of the environment. Their values go in and never come out."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Annotated

import typer

from drover.cli.exits import UsageError
from drover.cli.flags import FormatFlag, Names, Quiet, Yes
from drover.cli.group import list_group
from drover.cli.output import Format, Row, print_rows
from drover.cli.session import Session, confirm, run

HEADERS = ("ID", "NAME", "CREATED")

app = list_group("Secrets of the environment.")


@app.command("ls")
def list_secrets(ctx: typer.Context, quiet: Quiet = False, style: FormatFlag = "") -> None:
    """List secrets."""

    async def work(session: Session) -> None:
        rows = [
            Row(secret.id, [secret.id, secret.name, secret.text("created")], {"Secret": secret.fields})
            for secret in await session.client.list("secret", {"removed_null": 1})
        ]
        print_rows(HEADERS, rows, Format(quiet, style))

    run(ctx, work)


@app.command("create")
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="File with the value; - is standard input.")],
) -> None:
    """Create a secret from a file and print its id."""

    async def work(session: Session) -> None:
        value = base64.b64encode(_value(file)).decode("ascii")
        created = await session.client.create("secret", {"name": name, "value": value})
        typer.echo(created.id)

    run(ctx, work)


@app.command("rm")
def remove(ctx: typer.Context, names: Names, yes: Yes = False) -> None:
    """Remove secrets. Containers that run keep them."""

    async def work(session: Session) -> None:
        from drover.client.lookup import lookup

        found = [await lookup(session.client, name, ["secret"]) for name in names]
        confirm(f"Remove {', '.join(secret.label for secret in found)}?", yes=yes)
        for secret in found:
            await session.client.delete(secret)
            typer.echo(secret.id)

    run(ctx, work)


def _value(file: str) -> bytes:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    if not data:
        raise UsageError("the value is empty: a secret needs at least one byte")
    return data
