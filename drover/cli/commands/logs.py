"""`logs`: output of containers, many at once, in the order of arrival."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from drover.cli.exits import Exit, complain, exit_for
from drover.cli.output import printable
from drover.cli.session import Session, run
from drover.common.errors import DroverError
from drover.common.together import together

if TYPE_CHECKING:
    from drover.client.resource import Resource

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


def register(app: typer.Typer) -> None:
    app.command("logs")(logs)


def logs(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="CONTAINER|SERVICE|STACK...")],
    service: Annotated[bool, typer.Option("--service", "-s", help="Show the log of the service itself.")] = False,
    sub_log: Annotated[bool, typer.Option("--sub-log/--no-sub-log", help="Include details of service logs.")] = True,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    tail: Annotated[int, typer.Option(min=0, help="How many old lines to show.")] = 100,
    since: Annotated[str, typer.Option(help="Only lines since a time or of the last, say, `10m`.")] = "",
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="Show when lines were written.")] = False,
) -> None:
    """Show the output of containers, of all containers of a service, or of a stack."""

    async def work(session: Session) -> int:
        from drover.client.lookup import lookup

        if service:
            return await _service_logs(session, names, tail=tail, sub_log=sub_log, follow=follow)
        found = [await lookup(session.client, name, ["container", "service", "stack"]) for name in names]
        containers = [item for resource in found for item in await _containers(session, resource)]
        return await print_logs(session, containers, follow=follow, lines=tail, since=since, timestamps=timestamps)

    run(ctx, work)


async def print_logs(
    session: Session,
    containers: list[Resource],
    *,
    follow: bool,
    lines: int,
    since: str = "",
    timestamps: bool = False,
) -> int:
    """Print the logs of several containers at the same time; a prefix tells them apart."""
    width = max((len(container.name) for container in containers), default=0)
    coloured = sys.stdout.isatty()

    async def one(index: int, container: Resource) -> Exit:
        from drover.client.streams import Channel, stream_logs

        prefix = ""
        if len(containers) > 1:
            prefix = f"{printable(container.name).ljust(width)} | "
            if coloured:
                prefix = f"\x1b[{COLOURS[index % len(COLOURS)]}m{prefix}\x1b[0m"
        try:
            async for line in stream_logs(
                session.client, container, follow=follow, lines=lines, since=since, timestamps=timestamps
            ):
                out = sys.stderr if line.channel is Channel.STDERR else sys.stdout
                stamp = f"{line.timestamp} " if line.timestamp else ""
                out.write(f"{prefix}{stamp}{line.text}\n")
                out.flush()
        except DroverError as error:
            # The other containers go on: following a service must survive the loss of one of its hosts.
            complain(f"{container.label}: {error}")
            return exit_for(error)
        return Exit.OK

    return max(await together(one(index, item) for index, item in enumerate(containers)), default=Exit.OK)


async def _containers(session: Session, resource: Resource) -> list[Resource]:
    from drover.client.lookup import containers_of, natural_key

    if resource.base_type != "stack":
        return await containers_of(session.client, resource)
    instances = await session.client.list("container", {"stackId": resource.id, "removed_null": 1})
    return sorted(instances, key=lambda item: natural_key(item.name))


async def _service_logs(session: Session, names: list[str], *, tail: int, sub_log: bool, follow: bool) -> int:
    from drover.client.lookup import lookup
    from drover.client.subscribe import Notice

    client = session.client
    services = [await lookup(client, name, ["service"]) for name in names]
    wanted = {service.id: service.name for service in services}
    filters: dict[str, str | int | bool] = {"sort": "id", "order": "desc"}
    if not sub_log:
        filters["subLog"] = 0
    for service in services:
        entries = await client.list("serviceLog", {**filters, "serviceId": service.id}, limit=max(tail, 1))
        for entry in reversed(entries[:tail]):
            _print_service_log(entry, service.name)
    if not follow:
        return Exit.OK
    async for event in client.subscribe():
        if isinstance(event, Notice) and event.resource_type == "serviceLog" and (entry_now := event.resource):
            name = wanted.get(entry_now.text("serviceId"))
            if name is not None and (sub_log or not entry_now.get("subLog")):
                _print_service_log(entry_now, name)
    return Exit.OK


def _print_service_log(entry: Resource, service: str) -> None:
    text = f"{entry.text('created')} {entry.text('level').upper()} {service} {entry.text('eventType')}"
    typer.echo(printable(f"{text} {entry.text('description')}"))
