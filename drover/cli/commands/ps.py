"""`ps` and `services`: what runs.

A list of any length costs two requests that run at the same time: stacks (for names) with services, or hosts with
containers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drover.cli.flags import All, FormatFlag, Quiet, System, list_filters
from drover.cli.group import list_group
from drover.cli.output import Format, Row, endpoints, print_rows
from drover.cli.session import Session, run
from drover.common.together import together

if TYPE_CHECKING:
    from drover.client.resource import Resource

SERVICE_HEADERS = ("ID", "TYPE", "NAME", "IMAGE", "STATE", "SCALE", "SYSTEM", "ENDPOINTS", "DETAIL")
CONTAINER_HEADERS = ("ID", "NAME", "IMAGE", "STATE", "HOST", "IP", "DOCKER", "DETAIL")
GLOBAL = "io.rancher.scheduler.global"

services = list_group("Services of the environment.")


def register(app: typer.Typer) -> None:
    app.command("ps")(ps)


def ps(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[SERVICE|HOST...]", help="Show the containers of these.")
    ] = None,
    show_all: All = False,
    system: System = False,
    containers: Annotated[bool, typer.Option("--containers", "-c", help="Show containers.")] = False,
    quiet: Quiet = False,
    style: FormatFlag = "",
) -> None:
    """Show services, or containers with -c or for the services (with -c: hosts) named."""
    shown = Format(quiet, style)
    filters = list_filters(show_all=show_all, system=system)

    async def work(session: Session) -> None:
        if names:
            await _print_members(session, names, shown, types=["host"] if containers else ["service", "host"])
        elif containers:
            await _print_containers(session, filters, shown)
        else:
            await _print_services(session, filters, shown)

    run(ctx, work)


@services.command("ls")
def list_services(
    ctx: typer.Context,
    stack: Annotated[str | None, typer.Argument(metavar="[STACK]", help="Only the services of this stack.")] = None,
    show_all: All = False,
    system: System = False,
    quiet: Quiet = False,
    style: FormatFlag = "",
) -> None:
    """List services."""
    shown = Format(quiet, style)

    async def work(session: Session) -> None:
        from drover.client.lookup import lookup

        filters = list_filters(show_all=show_all, system=system)
        if stack is not None:
            filters["stackId"] = (await lookup(session.client, stack, ["stack"])).id
        await _print_services(session, filters, shown)

    run(ctx, work)


async def _print_services(session: Session, filters: Mapping[str, Any], shown: Format) -> None:
    client = session.client
    stacks, found = await together([client.list("stack", {"all": True}), client.list("service", filters)])
    print_rows(SERVICE_HEADERS, service_rows(found, {stack.id: stack for stack in stacks}), shown)


async def _print_containers(session: Session, filters: Mapping[str, Any], shown: Format) -> None:
    client = session.client
    hosts, found = await together([client.list("host"), client.list("container", filters)])
    print_rows(CONTAINER_HEADERS, container_rows(found, hosts), shown)


async def _print_members(session: Session, names: list[str], shown: Format, *, types: list[str]) -> None:
    from drover.client.lookup import lookup

    client = session.client
    owners = [await lookup(client, name, types) for name in names]
    members = [client.related(owner, "instances") for owner in owners]
    hosts, *instances = await together([client.list("host"), *members])
    found = [item for members_of in instances for item in members_of if not item.gone]
    print_rows(CONTAINER_HEADERS, container_rows(found, hosts), shown)


def service_rows(found: Iterable[Resource], stacks: Mapping[str, Resource]) -> list[Row]:
    """One row a service, followed by one for each of its sidekicks."""
    rows: list[Row] = []
    for service in found:
        stack = stacks.get(service.text("stackId"))
        name = f"{stack.name}/{service.name}" if stack is not None else service.name
        data = {"Service": service.fields, "Stack": stack.fields if stack is not None else {}}
        cells = [
            service.id,
            service.type,
            name,
            _image(service.mapping("launchConfig")),
            service.shown_state,
            _scale(service),
            bool(service.get("system")),
            endpoints(service.get("publicEndpoints")),
            service.transitioning_message,
        ]
        rows.append(Row(service.id, cells, data))
        for sidekick in service.sequence("secondaryLaunchConfigs"):
            again = [
                service.id,
                "sidekick",
                f"{name}/{sidekick.get('name', '')}",
                _image(sidekick),
                *cells[4:7],
                "",
                "",
            ]
            rows.append(Row(service.id, again, data))
    return rows


def _scale(service: Resource) -> str:
    """Units that are there and units wanted; how many a global service wants depends on the hosts alone."""
    units = service.get("currentScale")
    if units is None:
        # Some servers do not count units; the containers of sidekicks are among these.
        units = len(service.sequence("instanceIds"))
    labels = service.mapping("launchConfig").get("labels") or {}
    everywhere = str(labels.get(GLOBAL, "")).lower() == "true"
    return f"{units}/{'global' if everywhere else service.text('scale') or '-'}"


def container_rows(found: Iterable[Resource], hosts: Iterable[Resource]) -> list[Row]:
    """One row a container, by name."""
    from drover.client.lookup import natural_key

    host_names = {host.id: host.text("hostname") or host.name for host in hosts}
    return [
        Row(
            container.id,
            [
                container.id,
                container.name,
                _image(container),
                container.health_state if container.state == "running" and container.health_state else container.state,
                host_names.get(container.text("hostId"), ""),
                container.text("primaryIpAddress"),
                container.text("externalId")[:12],
                container.transitioning_message,
            ],
            {"Container": container.fields},
        )
        for container in sorted(found, key=lambda item: natural_key(item.name))
    ]


def _image(launch_config: Mapping[str, Any]) -> str:
    return str(launch_config.get("imageUuid") or "").removeprefix("docker:")
