"""`environment` (`env`): the environments of the server. They are called projects in the API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drover.cli.exits import UsageError
from drover.cli.flags import All, FormatFlag, Names, Quiet, Timeout, Wait, Yes
from drover.cli.group import list_group
from drover.cli.output import Format, Row, print_rows, to_yaml
from drover.cli.session import Session, confirm, run

if TYPE_CHECKING:
    from drover.client.resource import Resource

HEADERS = ("ID", "NAME", "ORCHESTRATION", "STATE", "CREATED")
TEMPLATE_HEADERS = ("ID", "NAME", "DESC")

app = list_group("Environments of the server.")
templates = list_group("Templates of environments.")
app.add_typer(templates, name="templates")


@app.command("ls")
def list_environments(ctx: typer.Context, show_all: All = False, quiet: Quiet = False, style: FormatFlag = "") -> None:
    """List environments."""

    async def work(session: Session) -> None:
        projects = await session.client.unscoped().list("project", {"all": True} if show_all else None)
        rows = [
            Row(
                project.id,
                [project.id, project.name, project.text("orchestration"), project.state, project.text("created")],
                {"Environment": project.fields},
            )
            for project in projects
        ]
        print_rows(HEADERS, rows, Format(quiet, style))

    run(ctx, work)


@app.command("create")
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    template: Annotated[
        str, typer.Option("--template", "-t", help="Name or id of the template; without it, the server's default.")
    ] = "",
    wait: Wait = False,
    timeout: Timeout = None,
) -> None:
    """Create an environment and print its id."""

    async def work(session: Session) -> None:
        body = {"name": name}
        if template:
            body["projectTemplateId"] = (await _template(session, template)).id
        root = session.client.unscoped()
        project = await root.create("project", body)
        typer.echo(project.id)
        if wait or session.options.wait:
            limit = session.options.timeout if timeout is None else timeout
            await root.wait(project, timeout=limit)

    run(ctx, work)


@app.command("rm")
def remove(ctx: typer.Context, names: Names, yes: Yes = False) -> None:
    """Remove environments with everything in them."""

    async def work(session: Session) -> None:
        projects = await _projects(session, names)
        confirm(f"Remove {', '.join(project.label for project in projects)} with everything inside?", yes=yes)
        for project in projects:
            await session.client.unscoped().delete(project)
            typer.echo(project.id)

    run(ctx, work)


@app.command("activate")
def activate(ctx: typer.Context, names: Names) -> None:
    """Activate environments."""
    _act(ctx, names, "activate")


@app.command("deactivate")
def deactivate(ctx: typer.Context, names: Names) -> None:
    """Deactivate environments; only their owners see them then."""
    _act(ctx, names, "deactivate")


@app.command("upgrade")
def upgrade(ctx: typer.Context, names: Names, wait: Wait = False, timeout: Timeout = None) -> None:
    """Bring the infrastructure stacks of environments to the version of the server."""

    async def work(session: Session) -> None:
        root = session.client.unscoped()
        projects = await _projects(session, names)
        for project in projects:
            await root.action(project, "upgrade")
            typer.echo(project.id)
        if wait or session.options.wait:
            limit = session.options.timeout if timeout is None else timeout
            for project in projects:
                await root.wait(project, timeout=limit)

    run(ctx, work)


@templates.command("ls")
def list_templates(ctx: typer.Context, show_all: All = False, quiet: Quiet = False, style: FormatFlag = "") -> None:
    """List templates of environments."""

    async def work(session: Session) -> None:
        filters = {"all": True} if show_all else None
        found = await session.client.unscoped().list("projectTemplate", filters)
        rows = [
            Row(item.id, [item.id, item.name, item.text("description")], {"ProjectTemplate": item.fields})
            for item in found
        ]
        print_rows(TEMPLATE_HEADERS, rows, Format(quiet, style))

    run(ctx, work)


@templates.command("export")
def export_templates(ctx: typer.Context, names: Names) -> None:
    """Print templates as YAML."""

    async def work(session: Session) -> None:
        from drover.client.lookup import lookup

        for name in names:
            template = await lookup(session.client, name, ["projectTemplate"])
            typer.echo(to_yaml(_template_document(template)), nl=False)

    run(ctx, work)


@templates.command("import")
def import_templates(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...")],
    public: Annotated[bool, typer.Option("--public", help="Every user may use the template.")] = False,
) -> None:
    """Create templates from YAML files."""
    bodies = [_read_template(file) for file in files]

    async def work(session: Session) -> None:
        for body in bodies:
            created = await session.client.unscoped().create("projectTemplate", {**body, "isPublic": public})
            typer.echo(created.id)

    run(ctx, work)


def _act(ctx: typer.Context, names: list[str], action: str) -> None:
    async def work(session: Session) -> None:
        for project in await _projects(session, names):
            await session.client.unscoped().action(project, action)
            typer.echo(project.id)

    run(ctx, work)


async def _projects(session: Session, names: list[str]) -> list[Resource]:
    from drover.client.lookup import lookup

    return [await lookup(session.client, name, ["project"]) for name in names]


async def _template(session: Session, text: str) -> Resource:
    """A template by its id, or by its name in any case."""
    from drover.client.lookup import lookup

    for each in await session.client.unscoped().list("projectTemplate"):
        if text == each.id or text.casefold() == each.name.casefold():
            return each
    return await lookup(session.client, text, ["projectTemplate"])


def _template_document(template: Resource) -> dict[str, Any]:
    stacks = []
    for stack in template.sequence("stacks"):
        pairs = {
            "name": stack.get("name"),
            "template_id": stack.get("templateId"),
            "template_version_id": stack.get("templateVersionId"),
            "answers": stack.get("answers"),
        }
        stacks.append({key: value for key, value in pairs.items() if value})
    return {"name": template.name, "description": template.text("description"), "stacks": stacks}


def _read_template(path: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise typer.BadParameter(f"{path}: {error}") from error
    if not isinstance(document, dict) or not document.get("name"):
        raise typer.BadParameter(f"{path}: a template needs at least a name")
    return {_camel(str(key)): value for key, value in document.items() if key != "stacks"} | {
        "stacks": [_stack_entry(path, entry) for entry in document.get("stacks") or []]
    }


def _stack_entry(path: Path, entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise UsageError(f"{path}: every entry of `stacks` must be a map")
    return {_camel(str(key)): value for key, value in entry.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
