"""The command line: `python -m bench [NAME ...] [--quick]`, and `make bench`."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from bench import attach, balancer, dns, engine, health, idle, metadata, plane, replace, routers, scale, startup, world
from bench.machine import Busy, describe_machine
from bench.options import Options
from bench.priority import precedence
from bench.processes import BenchError
from bench.report import show, write
from bench.result import Result

Bench = Callable[[Options], Awaitable[list[Result]]]

BENCHES: dict[str, Bench] = {
    each.NAME: each.run
    for each in (startup, scale, idle, health, replace, dns, metadata, balancer, attach, routers, world, plane, engine)
}
RESULTS = Path(__file__).with_name("results")
_LEAST_WIDTH = 120

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"Which: {', '.join(BENCHES)}. Without: all.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small numbers, a few minutes: shows that all works.")] = False,
    results: Annotated[
        Path | None, typer.Option(help="Where to write results; a full run without --profile updates bench/results.")
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Directory for profiles of the measured programs; slows them down.")
    ] = None,
    first: Annotated[
        bool, typer.Option("--precedence", help="Go before the machine's other programs, if it is not idle (root).")
    ] = False,
    imports: Annotated[bool, typer.Option("--imports", help="Break the start-up's imports down by package.")] = False,
) -> None:
    """Measure, print tables, write results."""
    console = Console(highlight=False)
    console.width = max(console.width, _LEAST_WIDTH)
    chosen = names or list(BENCHES)
    if unknown := [name for name in chosen if name not in BENCHES]:
        raise typer.BadParameter(f"no bench is called {', '.join(unknown)}; there are: {', '.join(BENCHES)}")
    if results is None and not (quick or profile):
        results = RESULTS
    work = Path(tempfile.mkdtemp(prefix="drover-bench-"))
    options = Options(work=work, quick=quick, profile=profile, imports=imports, precedence=first)
    try:
        with precedence() if first else contextlib.nullcontext():
            found = asyncio.run(_run([(name, BENCHES[name]) for name in chosen], options, console))
    except BenchError as error:
        console.print(f"bench: {error}", style="red")
        raise typer.Exit(1) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if results is not None:
        console.print(f"\nwritten: {write(found, results)}")


async def _run(benches: list[tuple[str, Bench]], options: Options, console: Console) -> list[Result]:
    found = []
    for name, bench in benches:
        console.print(f"[dim]{name} ...[/dim]")
        before = Busy.now()
        for measured in await bench(options):
            machine = describe_machine(before)
            result = msgspec.structs.replace(measured, machine=machine, seconds=round(time.monotonic() - before.at, 1))
            show(result, console)
            found.append(result)
    return found


if __name__ == "__main__":
    app()
