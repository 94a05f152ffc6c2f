"""structlog without Rich, which it looks for to write tracebacks in colours.

Ours are plain. Rich and what it brings take four megabytes and a third of the time in which a program starts.
Import this before structlog; it makes no difference to anybody who wants Rich afterwards.
"""

from __future__ import annotations

import sys

if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
