"""`start`, `stop`, `restart`, `rm`, `scale`, `wait`: change what runs, and wait for it.

Commands with several arguments look all of them up before they change anything, go on when one of them fails, and
end with a failure status then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from drover.cli.exits import Exit, UsageError, complain, exit_for
from drover.cli.flags import Names, Timeout, Types, Wait, Yes
from drover.cli.session import Session, confirm, run
from drover.common.errors import DroverError

if TYPE_CHECKING:
    from drover.client.resource import Resource

RUNNABLE = ("service", "container", "host", "stack")
REMOVABLE = ("service", "container", "stack", "host", "volume", "secret")
WAITABLE = ("service", "container", "host", "stack", "machine", "projectTemplate")
START_ACTIONS = ("start", "activate", "activateservices")
STOP_ACTIONS = ("stop", "deactivate", "deactivateservices")

Change = Callable[["Resource"], Awaitable["Resource | None"]]


def register(app: typer.Typer) -> None:
    app.command("start")(start)
    app.command("stop")(stop)
    app.command("restart")(restart)
    app.command("rm")(remove)
    app.command("scale")(scale)
    app.command("wait")(wait_for)


def start(ctx: typer.Context, names: Names, types: Types = None, wait: Wait = False, timeout: Timeout = None) -> None:
    """Start services, containers or stacks; activate hosts."""
    _run_first_action(ctx, names, types, START_ACTIONS, wait, timeout)


def stop(ctx: typer.Context, names: Names, types: Types = None, wait: Wait = False, timeout: Timeout = None) -> None:
    """Stop services, containers or stacks; deactivate hosts."""
    _run_first_action(ctx, names, types, STOP_ACTIONS, wait, timeout)


def restart(
    ctx: typer.Context,
    names: Names,
    types: Types = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Containers of a service to restart at a time.")] = 1,
    interval: Annotated[int, typer.Option(min=100, help="Milliseconds between two batches.")] = 1000,
    wait: Wait = False,
    timeout: Timeout = None,
) -> None:
    """Restart containers, or the containers of services batch by batch."""
    rolling = {"rollingRestartStrategy": {"batchSize": batch_size, "intervalMillis": interval}}

    async def work(session: Session) -> int:
        async def change(resource: Resource) -> Resource:
            body = rolling if resource.base_type == "service" else None
            return await session.client.action(resource, "restart", body)

        resources = await _lookup_all(session, names, types or ["service", "container"])
        return await _change_all(session, resources, change, wait=wait, timeout=timeout)

    run(ctx, work)


def remove(
    ctx: typer.Context,
    names: Names,
    types: Types = None,
    stop_first: Annotated[bool, typer.Option("--stop", "-s", help="Stop or deactivate first.")] = False,
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = None,
) -> None:
    """Remove services, containers, stacks, hosts, volumes or secrets."""
    from_stop = STOP_ACTIONS if stop_first else ()

    async def work(session: Session) -> int:
        from drover.client.wait import removed, settled

        async def change(resource: Resource) -> Resource | None:
            current = resource
            if action := _first_available(current, from_stop):
                answer = await session.client.action(current, action)
                stopped = answer if answer.id == current.id else current
                (current,) = await session.wait_for([stopped], settled, timeout=timeout)
            return await _delete(session, current)

        resources = await _lookup_all(session, names, types or REMOVABLE)
        confirm(f"Remove {', '.join(resource.label for resource in resources)}?", yes=yes)
        return await _change_all(session, resources, change, wait=wait, timeout=timeout, goal=removed)

    run(ctx, work)


def scale(
    ctx: typer.Context,
    wishes: Annotated[list[str], typer.Argument(metavar="SERVICE=NUMBER...")],
    wait: Wait = False,
    timeout: Timeout = None,
) -> None:
    """Set how many containers services have."""
    wanted = [_parse_wish(wish) for wish in wishes]

    async def work(session: Session) -> int:
        services = await _lookup_all(session, [name for name, _ in wanted], ["service"])
        numbers = {service.id: number for service, (_, number) in zip(services, wanted, strict=True)}

        async def change(service: Resource) -> Resource:
            return await session.client.update(service, {"scale": numbers[service.id]})

        return await _change_all(session, services, change, wait=wait, timeout=timeout)

    run(ctx, work)


def wait_for(
    ctx: typer.Context,
    names: Names,
    states: Annotated[
        list[str] | None,
        typer.Option("--for", help="State or health state to wait for; `removed` too. Default: settled and active."),
    ] = None,
    timeout: Timeout = None,
) -> None:
    """Wait until resources are in a state. Fails when one of them ends in an error."""

    async def work(session: Session) -> None:
        from drover.client.wait import in_state, removed

        wanted = states or ([session.options.wait_state] if session.options.wait_state else _HEALTHY)
        goal = removed if wanted == ["removed"] else in_state(*wanted)
        resources = await _lookup_all(session, names, WAITABLE)
        for resource in await session.wait_for(resources, goal, timeout=timeout):
            typer.echo(resource.id)

    run(ctx, work)


# What "it works" is called for the different types.
_HEALTHY = ["active", "running", "healthy", "started-once", "upgraded"]


def _run_first_action(
    ctx: typer.Context,
    names: list[str],
    types: list[str] | None,
    actions: Sequence[str],
    wait: bool,
    timeout: float | None,
) -> None:
    async def work(session: Session) -> int:
        async def change(resource: Resource) -> Resource:
            action = _first_available(resource, actions)
            if action is None:
                raise UsageError(f"{resource.label} is {resource.state} and offers none of {', '.join(actions)} now")
            answer = await session.client.action(resource, action)
            return answer if answer.id == resource.id else resource

        resources = await _lookup_all(session, names, types or RUNNABLE)
        return await _change_all(session, resources, change, wait=wait, timeout=timeout)

    run(ctx, work)


async def _delete(session: Session, resource: Resource) -> Resource | None:
    from drover.client.errors import MethodNotAllowed

    try:
        return await session.client.delete(resource)
    except MethodNotAllowed as error:
        error.detail = f"{resource.label} is {resource.state}; stop it first, or use --stop"
        raise


async def _lookup_all(session: Session, names: Sequence[str], types: Sequence[str]) -> list[Resource]:
    from drover.client.lookup import lookup

    return [await lookup(session.client, name, types) for name in names]


async def _change_all(
    session: Session,
    resources: list[Resource],
    change: Change,
    *,
    wait: bool,
    timeout: float | None,
    goal: Callable[[Resource], bool] | None = None,
) -> int:
    """Change one after the other, print the ids of those that worked, then wait for them together."""
    status = Exit.OK
    changed: list[Resource] = []
    for resource in resources:
        try:
            answer = await change(resource)
        except DroverError as error:
            complain(f"{resource.label}: {error}")
            status = exit_for(error)
            continue
        typer.echo(resource.id)
        changed.append(answer if answer is not None and answer.id else resource)
    if wait or session.options.wait:
        await session.wait_for(changed, goal, timeout=timeout)
    return status


def _first_available(resource: Resource, actions: Sequence[str]) -> str | None:
    return next((action for action in actions if action in resource.actions), None)


def _parse_wish(wish: str) -> tuple[str, int]:
    name, separator, number = wish.rpartition("=")
    if not separator or not name or not number.isdigit():
        raise typer.BadParameter(f"{wish!r}: write SERVICE=NUMBER, for example shop/web=3")
    return name, int(number)
