"""Command groups with the habits of the Rancher CLI: aliases, and a list when no subcommand is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

from drover.cli.exits import complain, exit_for
from drover.common.errors import DroverError


class ListByDefault(TyperGroup):
    """`drover hosts -q` is `drover hosts ls -q`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        wants_help = args[:1] in (["--help"], ["-h"])
        if not wants_help and (not args or args[0] not in self.commands):
            args = ["ls", *args]
        return super().parse_args(ctx, args)


class WithAliases(TyperGroup):
    """The short and the old names of commands; they work but do not lengthen the help."""

    aliases: ClassVar[Mapping[str, str]] = {
        "env": "environment",
        "environments": "environment",
        "stack": "stacks",
        "service": "services",
        "host": "hosts",
        "volume": "volumes",
        "secret": "secrets",
        "event": "events",
        "activate": "start",
        "deactivate": "stop",
    }

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, self.aliases.get(cmd_name, cmd_name))

    def invoke(self, ctx: Any) -> Any:
        """Errors found before a command connects (a broken file, say) end like those found later."""
        try:
            return super().invoke(ctx)
        except DroverError as error:
            complain(str(error))
            raise typer.Exit(exit_for(error)) from None


def list_group(help_text: str) -> typer.Typer:
    """A group whose subcommand `ls` may be left out."""
    return typer.Typer(cls=ListByDefault, help=help_text, no_args_is_help=False, invoke_without_command=True)
