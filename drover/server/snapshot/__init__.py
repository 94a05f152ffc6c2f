"""An environment as its hosts see it: kept incrementally from the commits, numbered, told as frames.

``sheet`` evaluates, ``facts`` reads rows, ``formulas`` makes the objects, ``frames`` encodes what changed, ``keeper``
decides which environments are kept at all.
"""

from drover.server.snapshot.environment import Environment
from drover.server.snapshot.keeper import Snapshots

__all__ = ["Environment", "Snapshots"]
