"""The command lines of the programs, with the option parser.

Flags, variables and help texts are made from the declaration of a program's settings when it is started or asked for
help, so a flag cannot exist that the program does not know.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drover.cli.programs import PROGRAMS, Program, load, run
from drover.cli.session import finish

if TYPE_CHECKING:
    from drover.common.settings import SettingField

LogLevel = Annotated[str, typer.Option("--log-level", envvar="DROVER_LOG_LEVEL", help="debug, info, warning or error.")]
LogFormat = Annotated[str, typer.Option("--log-format", envvar="DROVER_LOG_FORMAT", help="text or json.")]


def register(app: typer.Typer) -> None:
    for program in PROGRAMS:
        # The real parser is made when the command runs; until then everything, --help too, passes through.
        app.command(
            program.name,
            help=program.help,
            add_help_option=False,
            context_settings={
                "ignore_unknown_options": True,
                "allow_extra_args": True,
                "allow_interspersed_args": False,
                "help_option_names": [],
            },
        )(_forward(program))


def program_app(program: Program) -> typer.Typer:
    """The command line of one program, with a flag for every setting."""
    from drover.common.settings import describe

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    fields = describe(load(program.settings))
    app.command(program.name, help=program.help, context_settings={"help_option_names": ["-h", "--help"]})(
        _entry(program, fields)
    )
    return app


def _forward(program: Program) -> Callable[[typer.Context], None]:
    def forward(ctx: typer.Context) -> None:
        program_app(program)(args=ctx.args, prog_name=ctx.command_path)

    return forward


def _entry(program: Program, fields: tuple[SettingField, ...]) -> Callable[..., None]:
    """A function whose signature is the list of settings, which is what the option parser reads."""
    own = {field.name for field in fields}

    def entry(**values: Any) -> None:
        level, style = values["log_level"], values["log_format"]
        flags = {name: value or None if isinstance(value, list) else value for name, value in values.items()}
        finish(lambda: run(program, {name: flags[name] for name in own}, level or "info", style or "text"))

    parameters = [_parameter(field, positional=field.name == program.positional) for field in fields]
    for name, annotation, default in (("log_level", LogLevel, "info"), ("log_format", LogFormat, "text")):
        if name not in own:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(inspect.Parameter(name, kind, annotation=annotation, default=default))
    entry.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return entry


def _parameter(field: SettingField, *, positional: bool) -> inspect.Parameter:
    shown = "" if field.default in (None, "", ()) or field.secret or field.is_switch else str(field.default)
    help_text = f"{field.help} Default: {shown}." if shown else field.help
    if field.choices:
        help_text = f"{help_text} One of {', '.join(field.choices)}.".strip()
    annotation: Any = bool | None if field.is_switch else list[str] | None if field.repeated else str | None
    # A comma list in a variable is split by the settings, not by the option parser, which would split at blanks.
    variables = None if field.repeated else list(field.environment)
    if field.repeated:
        help_text = f"{help_text} May be repeated; as variable {field.environment[0]} a comma list.".strip()
    if positional:
        option: Any = typer.Argument(metavar="[URL]", help=help_text, envvar=variables, show_default=False)
    elif field.is_switch:
        negative = field.flag.replace("--", "--no-", 1)
        option = typer.Option(
            f"{field.flag}/{negative}", help=help_text, envvar=variables, show_default=str(field.default).lower()
        )
    else:
        option = typer.Option(field.flag, help=help_text, envvar=variables, show_default=False)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[annotation, option], default=None
    )
