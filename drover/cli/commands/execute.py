"""`exec`: run a program in a container, at a terminal or in a pipe, and pass on how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from drover.cli.exits import Exit, UsageError
from drover.cli.session import Session, run

if TYPE_CHECKING:
    from drover.client.resource import Resource
    from drover.client.streams import ExecStream


def register(app: typer.Typer) -> None:
    # Everything behind the container's name belongs to the program, its flags too.
    app.command("exec", context_settings={"allow_interspersed_args": False})(execute)


def execute(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="CONTAINER|SERVICE")],
    command: Annotated[list[str], typer.Argument(metavar="COMMAND [ARG...]")],
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="Pass standard input to the program.")
    ] = False,
    tty: Annotated[
        bool | None,
        typer.Option("--tty/--no-tty", "-t/-T", help="Give the program a terminal. Default: when there is one here."),
    ] = None,
) -> None:
    """Run a program in a container; the exit status is that of the program."""
    # `drover exec web -- ls -l`: the mark that ends the flags is not a program.
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise typer.BadParameter("nothing to run", param_hint="COMMAND")

    async def work(session: Session) -> int:
        from drover.cli import terminal
        from drover.client.lookup import lookup
        from drover.client.streams import open_exec

        found = await lookup(session.client, name, ["container", "service"])
        container = await _one_container(session, found)
        with_tty = terminal.is_terminal() if tty is None else tty
        # A shell at a terminal is meant to be typed into, as with the Rancher CLI, which knows no -i.
        with_stdin = interactive or (with_tty and terminal.is_terminal())
        async with await open_exec(session.client, container, words, tty=with_tty, stdin=with_stdin) as stream:
            with contextlib.ExitStack() as stack:
                if with_tty and with_stdin:
                    stack.enter_context(terminal.raw_mode())
                return await _converse(stream, with_tty=with_tty, with_stdin=with_stdin)

    run(ctx, work)


async def _converse(stream: ExecStream, *, with_tty: bool, with_stdin: bool) -> int:
    """Input goes in while output comes out; the program's end ends both."""
    helpers = []
    if with_stdin:
        helpers.append(asyncio.create_task(_send_input(stream), name="input of exec"))
    if with_tty:
        helpers.append(asyncio.create_task(_follow_size(stream), name="terminal size of exec"))
    try:
        return await _print_output(stream)
    finally:
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)


async def _print_output(stream: ExecStream) -> int:
    from drover.cli import terminal
    from drover.client.streams import Channel

    sys.stdout.flush()
    async for piece in stream:
        target = sys.stderr if piece.channel is Channel.STDERR else sys.stdout
        terminal.write(target.fileno(), piece.data)
    # Agents of the original do not tell how the program ended; a stream that ended well is all that is known then.
    return stream.exit_status if stream.exit_status is not None else Exit.OK


async def _send_input(stream: ExecStream) -> None:
    from drover.cli import terminal

    async for data in terminal.read_stdin():
        await stream.send(data)
    await stream.close_stdin()


async def _follow_size(stream: ExecStream) -> None:
    from drover.cli import terminal

    changed = asyncio.Event()
    changed.set()
    with terminal.on_resize(changed.set):
        while True:
            await changed.wait()
            changed.clear()
            await stream.resize(*terminal.size())


async def _one_container(session: Session, resource: Resource) -> Resource:
    """The container itself, or the first running one of a service."""
    from drover.client.lookup import containers_of

    containers = await containers_of(session.client, resource)
    running = [container for container in containers if container.state == "running"]
    if running:
        return running[0]
    if containers:
        raise UsageError(f"{containers[0].label} is {containers[0].state}: start it first")
    raise UsageError(f"{resource.label} has no container")
