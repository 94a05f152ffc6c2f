"""`stacks` and `export`: stacks as the server keeps them, and back to compose files."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drover.cli.exits import UsageError, complain
from drover.cli.flags import FormatFlag, Quiet, System, Timeout, Wait
from drover.cli.group import list_group
from drover.cli.output import Format, Row, print_rows
from drover.cli.session import Session, run
from drover.common.errors import DroverError

if TYPE_CHECKING:
    from drover.client.resource import Resource

HEADERS = ("ID", "NAME", "STATE", "CATALOG", "SERVICES", "SYSTEM", "DETAIL")
COMPOSE_FILES = (("docker-compose.yml", "dockerComposeConfig"), ("rancher-compose.yml", "rancherComposeConfig"))

app = list_group("Stacks of the environment.")


def register(root: typer.Typer) -> None:
    root.command("export")(export)


@app.command("ls")
def list_stacks(ctx: typer.Context, system: System = False, quiet: Quiet = False, style: FormatFlag = "") -> None:
    """List stacks."""

    async def work(session: Session) -> None:
        filters: dict[str, str | int | bool] = {"removed_null": 1}
        if not system:
            filters["system"] = False
        stacks = await session.client.list("stack", filters)
        print_rows(HEADERS, [_row(stack) for stack in stacks], Format(quiet, style))

    run(ctx, work)


@app.command("create")
def create(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...")],
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start the services.")] = True,
    system: System = False,
    empty: Annotated[bool, typer.Option("--empty", "-e", help="Create a stack without services.")] = False,
    quiet: Quiet = False,
    docker_compose: Annotated[Path, typer.Option("--docker-compose", "-f")] = Path("docker-compose.yml"),
    rancher_compose: Annotated[Path, typer.Option("--rancher-compose", "-r")] = Path("rancher-compose.yml"),
    wait: Wait = False,
    timeout: Timeout = None,
) -> None:
    """Create stacks; the server reads the compose files and creates the services.

    Use `drover up` to have the files read here, with build folders, env files and variables of this machine.
    """

    async def work(session: Session) -> None:
        body: dict[str, Any] = {"system": system, "startOnCreate": start}
        if not empty:
            body["dockerCompose"] = _read(docker_compose, required=True)
            rancher = _read(rancher_compose, required=rancher_compose != Path("rancher-compose.yml"))
            body |= {"rancherCompose": rancher} if rancher is not None else {}
        created = [await session.client.create("stack", {**body, "name": name}) for name in names]
        for stack in created:
            typer.echo(stack.id)
        if wait or session.options.wait:
            await session.wait_for(created, timeout=timeout)

    run(ctx, work)


def export(
    ctx: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[STACK...]", help="Default: all stacks.")] = None,
    file: Annotated[str | None, typer.Option("--file", "-f", help="Write one tar file; - is standard output.")] = None,
    system: System = False,
) -> None:
    """Write the compose files of stacks into one folder each, or into a tar file."""

    async def work(session: Session) -> int:
        from drover.client.lookup import lookup

        client = session.client
        if names:
            stacks = [await lookup(client, name, ["stack"]) for name in names]
        else:
            every = await client.list("stack", {"removed_null": 1})
            stacks = [stack for stack in every if system or not stack.get("system")]
        failed = False
        exported: dict[str, bytes] = {}
        for stack in stacks:
            try:
                texts = await client.action(stack, "exportconfig", {"serviceIds": None})
            except DroverError as error:
                # One stack that cannot be exported must not keep the others from being saved.
                complain(f"{stack.label}: {error}")
                failed = True
                continue
            for name, key in COMPOSE_FILES:
                exported[f"{_folder(stack)}/{name}"] = texts.text(key).encode()
        _write(exported, file)
        return 1 if failed else 0

    run(ctx, work)


def _row(stack: Resource) -> Row:
    cells = [
        stack.id,
        stack.name,
        stack.shown_state,
        stack.text("externalId"),
        len(stack.sequence("serviceIds")),
        bool(stack.get("system")),
        stack.transitioning_message,
    ]
    return Row(stack.id, cells, {"Stack": stack.fields})


def _read(path: Path, *, required: bool) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        if required:
            raise UsageError(f"there is no file {path}: name one with -f, or use --empty") from None
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def _folder(stack: Resource) -> str:
    """The stack's name as a folder; a name from the server must not lead out of the current one."""
    name = stack.name.replace(os.sep, "-").lstrip(".")
    return name or stack.id


def _write(files: dict[str, bytes], archive: str | None) -> None:
    if archive is not None:
        data = _tar(files)
        if archive == "-":
            sys.stdout.buffer.write(data)
        else:
            Path(archive).write_bytes(data)
        return
    for name, data in files.items():
        target = Path(name)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        # Compose files hold environment variables, and those hold passwords.
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(data)


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o644
            member.mtime = int(time.time())
            member.uname = member.gname = "root"
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
