"""Flags that several commands share, so that they look and behave alike everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

All = Annotated[bool, typer.Option("--all", "-a", help="Show also what is stopped, inactive or removed.")]
System = Annotated[bool, typer.Option("--system", "-s", help="Show also what belongs to the infrastructure.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print ids only.")]
FormatFlag = Annotated[
    str,
    typer.Option("--format", help="`json`, `yaml`, or a template such as '{{.ID}} {{.Name}}'.", show_default=False),
]
Types = Annotated[list[str] | None, typer.Option("--type", help="Look names up in these types only.")]
Names = Annotated[list[str], typer.Argument(metavar="ID|NAME...", help="What to work on.")]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Return only when the work is done.")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", "--wait-timeout", min=0, help="Give up waiting after so many seconds.", metavar="S"),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before removing.")]


def list_filters(*, show_all: bool, system: bool) -> dict[str, str | int | bool | list[str]]:
    """What lists hide unless asked (Rancher CLI: inactive, stopped, removing and infrastructure resources)."""
    filters: dict[str, str | int | bool | list[str]] = {}
    if show_all:
        filters["all"] = True
    else:
        filters["removed_null"] = 1
        filters["state_ne"] = ["inactive", "stopped", "removing"]
    if not system:
        filters["system"] = False
    return filters
