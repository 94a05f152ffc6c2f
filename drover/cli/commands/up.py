"""`up`: make a stack what its compose files say.

The files are read, rendered, parsed and checked, and compared with the environment, before the first change; a
mistake leaves everything as it was.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from drover.cli.compose_files import ComposeSources, LocalFiles, read_env_file, read_sources, variables
from drover.cli.exits import Exit, UsageError, complain
from drover.cli.flags import Timeout
from drover.cli.progress import showing
from drover.cli.session import Session, finish, run
from drover.common.errors import DroverError

if TYPE_CHECKING:
    from drover.client.apply import Applied
    from drover.client.plan import ApplyOptions, ApplyPlan
    from drover.compose import ComposeProject


def register(app: typer.Typer) -> None:
    app.command("up")(up)


def up(
    ctx: typer.Context,
    services: Annotated[list[str] | None, typer.Argument(metavar="[SERVICE...]", help="Default: all.")] = None,
    file: Annotated[
        list[str] | None, typer.Option("--file", "-f", help="Compose file; may be repeated; - is standard input.")
    ] = None,
    rancher_file: Annotated[str | None, typer.Option(help="Default: rancher-compose.yml next to the file.")] = None,
    stack: Annotated[str | None, typer.Option("--stack", "-s", help="Default: the name of the folder.")] = None,
    env_file: Annotated[
        str | None, typer.Option("--env-file", "-e", help="Variables: KEY=VALUE lines, or a YAML or JSON map.")
    ] = None,
    detach: Annotated[bool, typer.Option("-d", help="Return when all is up, instead of following the logs.")] = False,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", "-u", "--recreate", help="Upgrade services that differ from the files.")
    ] = False,
    force_upgrade: Annotated[
        bool, typer.Option("--force-upgrade", "--force-recreate", help="Upgrade also what does not differ.")
    ] = False,
    confirm_upgrade: Annotated[
        bool, typer.Option("--confirm-upgrade", "-c", help="Finish upgrades: remove the old containers.")
    ] = False,
    rollback: Annotated[bool, typer.Option("--rollback", "-r", help="Go back to before the upgrade.")] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Containers to upgrade at a time. Default: the file's, or 2.")
    ] = None,
    interval: Annotated[
        int | None, typer.Option(min=100, help="Milliseconds between two batches. Default: the file's, or 1000.")
    ] = None,
    pull: Annotated[bool, typer.Option("--pull", "-p", help="Pull images on all hosts before upgrading.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove services of the stack that no file has.")] = False,
    render: Annotated[bool, typer.Option("--render", help="Print the files after templating, and stop.")] = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Print what would be done, and stop.")] = False,
    description: Annotated[str, typer.Option(help="Description of a new stack.")] = "",
    timeout: Timeout = None,
) -> None:
    """Create, start and upgrade the services of compose files.

    Exit status 0 means that every service is up. Numbers of containers of existing services stay as they are.
    """
    if render:
        finish(lambda: _render(read_sources(file or [], rancher_file, stack)))
    if rollback and (upgrade or force_upgrade or confirm_upgrade):
        raise typer.BadParameter("--rollback goes with none of the upgrade flags", param_hint="--rollback")

    async def work(session: Session) -> int:
        from drover.client.plan import ApplyOptions, Mode

        mode = Mode.ROLLBACK if rollback else Mode.FORCE if force_upgrade else Mode.UPGRADE if upgrade else Mode.KEEP
        options = ApplyOptions(
            mode=mode,
            confirm=confirm_upgrade,
            pull=pull,
            prune=prune,
            batch_size=batch_size,
            interval_millis=interval,
            description=description,
            services=frozenset(services) if services else None,
        )
        project = load(read_sources(file or [], rancher_file, stack), env_file)
        limit = session.options.timeout if timeout is None else timeout
        applied = await _apply(session, project, options, timeout=limit, plan_only=plan_only)
        if applied is None or detach or rollback:
            return Exit.OK
        return await _follow_logs(session, applied, options)

    run(ctx, work)


def load(sources: ComposeSources, env_file: str | None) -> ComposeProject:
    """Parse and check the files. Raises InvalidFiles with all problems at once."""
    from drover.compose import ComposeError, load_project

    def attempt(answers: dict[str, str]) -> ComposeProject:
        return load_project(
            files=sources.files,
            rancher_files=sources.rancher_files,
            variables=answers,
            stack_name=sources.stack_name,
            source=LocalFiles(),
        )

    try:
        project = attempt(variables(env_file))
        answered = read_env_file(env_file) if env_file else {}
        asked = _ask(project, answered)
        return attempt({**variables(None), **asked, **answered}) if asked else project
    except ComposeError as error:
        raise InvalidFiles("\n".join(str(problem) for problem in error.problems)) from error


class InvalidFiles(DroverError):
    """The compose files have mistakes; the text has one line for each."""


def _ask(project: ComposeProject, answered: dict[str, str]) -> dict[str, str]:
    """Questions of the catalog section that the env file leaves open; only a person at a terminal is asked."""
    if not project.questions or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return {}
    answers = {}
    for question in project.questions:
        if question.variable not in answered:
            default = question.default if question.default is not None else None if question.required else ""
            answers[question.variable] = str(typer.prompt(question.variable, default=default))
    return answers


async def _apply(
    session: Session, project: ComposeProject, options: ApplyOptions, *, timeout: float, plan_only: bool
) -> Applied | None:
    from drover.client.apply import ApplyError, apply
    from drover.client.plan import PlanError, make_plan
    from drover.client.resource_api import RemoteApi
    from drover.compose import ComposeError

    with showing() as progress:
        async with RemoteApi(session.client, timeout=timeout, on_change=progress.on_change) as api:
            try:
                plan = await make_plan(api, project, options)
            except ComposeError as error:
                raise InvalidFiles("\n".join(str(problem) for problem in error.problems)) from error
            _print_notes(plan)
            if plan_only:
                _print_plan(plan)
                return None
            try:
                return await apply(api, plan, report=progress.report)
            except ApplyError as error:
                # One failure keeps its own class, so that a timeout exits as a timeout.
                if len(error.failures) == 1 and not isinstance(error, PlanError):
                    raise next(iter(error.failures.values())) from error
                raise


def _print_notes(plan: ApplyPlan) -> None:
    from drover.client.plan import Step

    for warning in plan.warnings:
        complain(f"warning: {warning}")
    for step in plan.steps:
        if step.step is Step.OUTDATED:
            complain(f"warning: {step.name} is out of sync with the files: use --upgrade ({'; '.join(step.details)})")


def _print_plan(plan: ApplyPlan) -> None:
    stack = "create" if plan.stack is None else plan.stack.id
    typer.echo(f"stack {plan.project.name}: {stack}")
    for body in plan.volumes:
        typer.echo(f"volume {body['name']}: create")
    for name in plan.secrets:
        typer.echo(f"secret {name}: create")
    for step in plan.steps:
        typer.echo(f"service {step.name}: {step.step.value}")
        for detail in step.details:
            typer.echo(f"    {detail}")
    for service in plan.removed:
        typer.echo(f"service {service.name}: remove")


async def _follow_logs(session: Session, applied: Applied, options: ApplyOptions) -> int:
    from drover.cli.commands.logs import print_logs
    from drover.client.lookup import containers_of

    wanted = [
        service for name, service in applied.services.items() if options.services is None or name in options.services
    ]
    containers = [item for service in wanted for item in await containers_of(session.client, service)]
    return await print_logs(session, containers, follow=True, lines=100)


def _render(sources: ComposeSources) -> None:
    from drover.compose.errors import Invalid
    from drover.compose.render import render

    for source in (*sources.files, *sources.rancher_files):
        try:
            sys.stdout.write(render(source.text, file=source.path))
        except Invalid as error:
            raise UsageError(f"{error.mark}: {error.message}") from error
