"""How much to measure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``quick`` proves that a bench works; its numbers are too small to be compared with the goals' conditions.

    ``profile`` is a directory for profiles of the measured programs. A profiled run is slower.
    """

    work: Path
    quick: bool = False
    profile: Path | None = None
    imports: bool = False
    precedence: bool = False
