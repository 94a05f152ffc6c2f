"""The program `drover`: a program that runs for long at once, or else the command tree."""

from __future__ import annotations

import sys

from drover.cli.programs import run_directly


def main() -> None:
    """Entry point of the program."""
    arguments = program_arguments(sys.argv[1:])
    run_directly(arguments)
    from drover.cli.app import app  # with the option parser, which no long-running program needs

    app(args=arguments, prog_name="drover")


def program_arguments(arguments: list[str]) -> list[str]:
    """Arguments with the command put in front that old installation commands leave out.

    Hosts are added with `docker run IMAGE http://server/v1/scripts/TOKEN`: an address alone means the agent.
    """
    if arguments and arguments[0].startswith(("http://", "https://")):
        return ["agent", *arguments]
    return arguments
