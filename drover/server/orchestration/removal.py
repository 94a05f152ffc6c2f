"""When a removed thing disappears for good: not at once, and not all at the same moment."""

from __future__ import annotations

import random
from typing import Any

from drover.common.clock import now_ms
from drover.server.orchestration.durations import seconds
from drover.server.orchestration.settings import Settings


def removed(settings: Settings, type_name: str) -> dict[str, Any]:
    """The values of a row that is removed now: hidden from lists, purged some time later.

    A negative delay stands for a random one up to its absolute value, as in Rancher 1.6.
    """
    now = now_ms()
    own = f"object.{type_name.lower()}.remove.time.delay.seconds"
    name = own if settings.get(own) else "object.remove.time.delay.seconds"
    delay = seconds(settings, name)
    wait = delay if delay >= 0 else random.uniform(0, -delay)  # noqa: S311 - spreads load, hides nothing
    return {"removed": now, "removeTime": now + int(wait * 1000)}
