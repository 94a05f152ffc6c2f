"""Which rows a caller may see. Every list and every look-up by id goes through here."""

from __future__ import annotations

from collections.abc import Sequence

from drover.server.api.call import Call
from drover.server.resources import Schema, catalog
from drover.server.store import Condition, Record

Conditions = tuple[Condition, ...]

# Rows of these types belong to an account, but everybody who knows the type may read them.
SHARED_TYPES = frozenset({"machineDriver", "setting"})


def has_account(call: Call, base_type: str) -> bool:
    return "accountId" in call.store.types[base_type].columns


def account_scope(call: Call, base_type: str) -> tuple[Conditions, tuple[Conditions, ...]]:
    """Conditions, and groups of alternatives, that limit a list to what the caller may see."""
    caller = call.caller
    if caller.list_all_accounts or base_type in SHARED_TYPES:
        return (), ()
    if base_type == "account":
        return (Condition("id", "eq", caller.policy_account_id),), ()
    if not has_account(call, base_type):
        return (), ()
    own = Condition("accountId", "eq", caller.policy_account_id)
    if base_type == "projectTemplate":
        return (), ((own, Condition("isPublic", "eq", True)),)
    return (own,), ()


def may_see(call: Call, record: Record) -> bool:
    """Whether the caller may read a row that was found by its id."""
    caller = call.caller
    if caller.all_accounts or caller.list_all_accounts or record.type in SHARED_TYPES:
        return True
    if record.type == "account":
        return record.id in (caller.policy_account_id, caller.account_id) or record.id in caller.projects
    if not has_account(call, record.type):
        return True
    if record.account_id == caller.policy_account_id:
        return True
    return record.type == "projectTemplate" and bool(record["isPublic"])


def may_write(call: Call, record: Record) -> bool:
    """Whether a row that the caller may read is also his to change: shared and public rows belong to somebody."""
    if call.caller.all_accounts or record.type == "account" or not has_account(call, record.type):
        return True
    return record.account_id is None or record.account_id == call.caller.policy_account_id


def kinds_of(schema: Schema) -> tuple[str, ...] | None:
    """The kinds of rows that a type stands for; None when it stands for all rows of its table."""
    name = stored_kind(schema.id)
    resource = catalog().resources.get(name)
    if resource is None or resource.parent is None:
        return None
    return tuple(sorted(_descendants(name)))


def stored_kind(type_name: str) -> str:
    """The ``kind`` of rows of a type: v1 shows a stack as ``environment``."""
    return "stack" if type_name == "environment" else type_name


def _descendants(name: str) -> set[str]:
    found = {name}
    for child in catalog().children(name):
        found |= _descendants(child)
    return found


def is_kind(schema: Schema, record: Record) -> bool:
    kinds = kinds_of(schema)
    return kinds is None or record.kind in kinds


async def load_visible(call: Call, base_type: str, ids: Sequence[int]) -> dict[int, Record]:
    """The rows among these ids that the caller may read, in one statement; removed ones count."""
    if not ids:
        return {}
    found = await call.store.get_many(base_type, ids)
    return {row_id: record for row_id, record in found.items() if may_see(call, record)}
