"""The laboratory: several real container hosts on one machine, without virtualisation.

Each host is a network namespace with a container engine of its own; all are joined by one switch. See
docs/internals/lab.md for how it works and `python -m lab --help` for the command line.
"""

from lab.errors import LabError
from lab.host import LabHost
from lab.lab import Lab

__all__ = ["Lab", "LabError", "LabHost"]
