"""The envelope of everything that travels over the bus. Source of the fields: the event channel of Rancher 1.6."""

from __future__ import annotations

import uuid
from typing import Any, Literal

import msgspec

from drover.common.clock import now_ms


class Event(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """One message. ``name`` is the topic, with its qualifier (``ping;agent=5``)."""

    name: str
    id: str = msgspec.field(default_factory=lambda: str(uuid.uuid4()))
    reply_to: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    data: Any = None
    time: int | None = msgspec.field(default_factory=now_ms)
    timeout_millis: int | None = None
    publisher: str | None = None
    context: dict[str, Any] | None = None
    previous_ids: list[str] | None = None
    previous_names: list[str] | None = None
    transitioning: Literal["yes", "no", "error"] | None = None
    transitioning_message: str | None = None
    transitioning_internal_message: str | None = None
    transitioning_progress: int | None = None

    @property
    def failure(self) -> str | None:
        """The text of a final error, or None. Early agents gave it in the internal message."""
        if self.transitioning != "error":
            return None
        return self.transitioning_internal_message or self.transitioning_message or "no reason given"

    @property
    def is_progress(self) -> bool:
        return self.transitioning == "yes"
