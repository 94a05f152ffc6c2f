"""`hosts`: the machines of the environment, and how to add one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from drover.cli.exits import UsageError
from drover.cli.flags import All, FormatFlag, Quiet, list_filters
from drover.cli.group import list_group
from drover.cli.output import Format, Row, print_rows
from drover.cli.session import Session, run

if TYPE_CHECKING:
    from drover.client.api import ApiClient
    from drover.client.resource import Resource

HEADERS = ("ID", "HOSTNAME", "STATE", "CONTAINERS", "IP", "LABELS", "DETAIL")

app = list_group("Hosts of the environment.")

Labels = Annotated[list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="Label of the new host.")]
AgentIp = Annotated[str | None, typer.Option("--ip", help="Address under which other hosts reach the new host.")]


@app.command("ls")
def list_hosts(ctx: typer.Context, show_all: All = False, quiet: Quiet = False, style: FormatFlag = "") -> None:
    """List hosts."""

    async def work(session: Session) -> None:
        hosts = await session.client.list("host", list_filters(show_all=show_all, system=True))
        print_rows(HEADERS, [_row(host) for host in hosts], Format(quiet, style))

    run(ctx, work)


@app.command("register-command")
def register_command(ctx: typer.Context, labels: Labels = None, ip: AgentIp = None) -> None:
    """Print the command that adds a host. Run it on the new machine; it needs Docker there."""
    added = _agent_options(labels or [], ip)

    async def work(session: Session) -> None:
        token = await _registration_token(session.client)
        command = token.text("command")
        if not command:
            raise UsageError("the server shows no registration command: this key may not manage hosts")
        typer.echo(command.replace("docker run ", f"docker run {added}", 1))

    run(ctx, work)


app.command("add", help="The same as register-command.")(register_command)


async def _registration_token(client: ApiClient) -> Resource:
    """The environment's token; made when there is none yet."""
    from drover.client.wait import in_state

    for token in await client.list("registrationToken", {"state": "active"}):
        if token.text("command"):
            return token
    created = await client.create("registrationToken")
    active = await client.wait(created, in_state("active"), timeout=60)
    # Only a read of the active token carries the command.
    return active if active.text("command") else await client.refresh(active)


def _agent_options(labels: list[str], ip: str | None) -> str:
    from shlex import quote as shell_quote

    options = ""
    if labels:
        pairs = [label.partition("=") for label in labels]
        if any(not key or not separator for key, separator, _ in pairs):
            raise typer.BadParameter("write labels as KEY=VALUE", param_hint="--label")
        encoded = "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, _, value in pairs)
        options += f"-e {shell_quote('CATTLE_HOST_LABELS=' + encoded)} "
    if ip:
        options += f"-e {shell_quote('CATTLE_AGENT_IP=' + ip)} "
    return options


def _row(host: Resource) -> Row:
    labels = {key: value for key, value in host.mapping("labels").items() if not key.startswith("io.rancher")}
    state = host.text("agentState") if host.state == "active" and host.text("agentState") else host.state
    cells = [
        host.id,
        host.text("hostname") or host.name,
        state,
        len(host.sequence("instanceIds")),
        host.text("agentIpAddress"),
        labels,
        host.transitioning_message,
    ]
    return Row(host.id, cells, {"Host": host.fields})
