"""Reading an environment's rows for the first time: a few statements, however many containers there are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from drover.server.snapshot.facts import TYPES
from drover.server.store import Condition, Query, Record, Store

_PAGE = 1000


async def environment_rows(store: Store, account_id: int) -> AsyncIterator[Sequence[Record]]:
    """All rows of an environment that facts are made of, in pages, so that the loop can do other things between."""
    account = await store.get("account", account_id)
    if account is not None:
        yield [account]
    for type_name in TYPES:
        if type_name == "account":
            continue
        conditions = (Condition("accountId", "eq", account_id), Condition("removed", "null"))
        after = 0
        while True:
            page = await store.find(Query(type_name, conditions, limit=_PAGE, after_id=after))
            if page:
                yield page
            if len(page) < _PAGE:
                break
            after = page[-1].id


async def local_region(store: Store) -> str | None:
    """The name of the region that this server is, if it was given one."""
    region = await store.first("region", local=True, removed=None)
    return None if region is None else region.name
