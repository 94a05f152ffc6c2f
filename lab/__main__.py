"""The command line: `python -m lab up --hosts 3`, `status`, `exec HOST -- COMMAND`, `down`."""

import asyncio
import os
import sys
import time
from typing import Annotated

import typer

from lab import record
from lab.engine import host_environment
from lab.errors import LabError
from lab.lab import Lab, remove_orphans
from lab.layout import LabLayout
from lab.machine import on_host

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Several container hosts on this one machine.",
)

Name = Annotated[str, typer.Option(help="Name of the lab; several can be up at once.")]


@app.command()
def up(
    hosts: Annotated[int, typer.Option(min=1, max=200, help="How many hosts.")] = 3,
    server: Annotated[bool, typer.Option(help="Start a Drover server too.")] = False,
    agents: Annotated[bool, typer.Option(help="Join every host to that server.")] = False,
    image: Annotated[bool, typer.Option(help="Build the Drover image and load it on every host.")] = False,
    name: Name = "lab",
) -> None:
    """Start a lab and leave it running."""
    known = record.read(LabLayout.of(name).record)
    if known and any(process.alive() for process in known.processes):
        raise LabError(f"lab {name!r} is up already; take it down with `python -m lab down --name {name}`")
    began = time.monotonic()
    lab = Lab(hosts=hosts, server=server, agents=agents, drover_image=image, name=name)
    asyncio.run(lab.up())
    print(f"lab {name!r} is up after {time.monotonic() - began:.1f} s")
    _show(lab)


@app.command()
def down(name: Name = "lab") -> None:
    """Remove a lab and everything it left, also after a crash."""
    asyncio.run(Lab(hosts=0, name=name).down())


@app.command()
def prune() -> None:
    """Remove the labs of test runs that were killed."""
    for name in asyncio.run(remove_orphans()):
        print(f"removed lab {name!r}")


@app.command()
def status(name: Name = "lab") -> None:
    """Show a running lab; exit status 1 if one of its programs is gone."""
    known = _show(Lab.attach(name))
    if not all(process.alive() for process in known.processes):
        raise typer.Exit(1)


@app.command("exec", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def execute(context: typer.Context, host: str, name: Name = "lab") -> None:
    """Run a command in a host's network, with DOCKER_HOST set to the host's engine."""
    lab = Lab.attach(name)
    if host not in {known.name for known in lab.hosts}:
        raise LabError(f"lab {name!r} has no host {host!r}; it has {', '.join(known.name for known in lab.hosts)}")
    layout = lab.layout.host(host)
    argv = on_host(layout, *(context.args or ["sh"]))
    os.execvpe(argv[0], argv, host_environment(layout))


def _show(lab: Lab) -> record.LabRecord:
    known = record.read(lab.layout.record)
    if known is None:
        raise LabError(f"lab {lab.name!r} went away")
    print(f"registry  {known.registry}")
    if known.find("server"):
        print(f"server    {known.server_url}")
    for host in lab.hosts:
        print(f"{host.name:9} {host.address:15} DOCKER_HOST=unix://{host.docker_socket}")
    for process in known.processes:
        print(f"  {process.role:20} pid {process.pid:<8} {'running' if process.alive() else 'gone'}")
    return known


def main() -> None:
    try:
        app()
    except* LabError as errors:
        for error in _flatten(errors):
            print(f"lab: {error}", file=sys.stderr)
        for note in getattr(errors, "__notes__", []):
            print(f"lab: {note}", file=sys.stderr)
        sys.exit(1)


def _flatten(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    flat: list[BaseException] = []
    for error in group.exceptions:
        flat += _flatten(error) if isinstance(error, BaseExceptionGroup) else [error]
    return flat


if __name__ == "__main__":
    main()
