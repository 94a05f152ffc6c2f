"""Things that people and tools keep here for themselves: preferences and generic objects."""

from __future__ import annotations

from collections.abc import Sequence

from drover.server.api.call import Call
from drover.server.api.draft import Draft
from drover.server.api.errors import invalid
from drover.server.api.extensions import Extensions, Item
from drover.server.api.listing import find_page
from drover.server.resources import Schema
from drover.server.store import Condition

_LARGEST_PREFERENCE = 64 * 1024  # characters


def register(extensions: Extensions) -> None:
    extensions.rule("userPreference")(check_preference)
    extensions.lists("userPreference")(list_preferences)


async def check_preference(draft: Draft) -> None:
    """One value per account and name."""
    if len(str(draft.values.get("value") or "")) > _LARGEST_PREFERENCE:
        raise invalid("MaxLengthExceeded", "value", f"A preference may have at most {_LARGEST_PREFERENCE} characters")
    if not draft.changes("name"):
        return
    name = draft.values["name"]
    for other in await draft.call.store.find_by(
        "userPreference", accountId=draft.get("accountId"), name=name, removed=None
    ):
        if draft.record is None or other.id != draft.record.id:
            raise invalid("NotUnique", "name", f"You have a preference {name} already; change that one")


async def list_preferences(call: Call, schema: Schema) -> Sequence[Item]:
    """The caller's own; administrators see everybody's with ``all=true``."""
    own = () if call.flag("all") else (Condition("accountId", "eq", call.caller.policy_account_id),)
    return (await find_page(call, schema, "userPreference", extra=own, default_limit=3000)).records
