"""`events`: what changes, as it changes."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from drover.cli.output import compile_template, printable, to_yaml
from drover.cli.session import Session, run

if TYPE_CHECKING:
    from drover.client.subscribe import Notice


def register(app: typer.Typer) -> None:
    app.command("events")(events)


def events(
    ctx: typer.Context,
    style: Annotated[str, typer.Option("--format", help="`json`, `yaml`, or a template.", show_default=False)] = "",
    reconnect: Annotated[bool, typer.Option("--reconnect", "-r", help="Go on when the connection is lost.")] = False,
) -> None:
    """Print changes of resources until interrupted: type, id, state, name, message."""

    async def work(session: Session) -> None:
        from drover.client.subscribe import Notice

        subscription = session.client.subscribe()
        async for event in subscription if reconnect else subscription.once():
            if isinstance(event, Notice):
                sys.stdout.write(_line(event, style) + "\n")
                sys.stdout.flush()

    run(ctx, work)


def _line(event: Notice, style: str) -> str:
    resource = event.resource
    if style in ("json", "yaml") or style:
        data = {"name": event.name, "resourceType": event.resource_type, "resourceId": event.resource_id}
        document = {**data, "data": event.data or {}}
        if style == "json":
            return json.dumps(document, ensure_ascii=False)
        if style == "yaml":
            return "---\n" + to_yaml(document).rstrip("\n")
        return str(compile_template(style)({**document, "resource": resource.fields if resource else {}}))
    if resource is None:
        return printable(f"{event.resource_type} {event.resource_id} {event.name}")
    called = resource.name or resource.text("hostname")
    name = f" [{called}]" if called else ""
    message = f" {resource.transitioning_message}" if resource.transitioning_message else ""
    return printable(f"{resource.type} {resource.id} {resource.shown_state}{name}{message}")
