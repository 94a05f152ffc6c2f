"""The database: rows as records, changes committed in groups, batched reads.

Every write of the server is a :class:`Changes`: a small plan (insert these rows, update those, provided that they
still look like this) that is committed as a whole or not at all. Plans of many tasks that arrive together share one
transaction, so the number of statements grows with the number of batches and not with the number of containers.
"""

from drover.server.store.changes import Changes, Committed, Touched
from drover.server.store.database import Database
from drover.server.store.errors import ClaimTaken, GuardFailed, RowMissing, StoreError
from drover.server.store.mapping import TypeMap
from drover.server.store.query import Condition, Query
from drover.server.store.record import Record
from drover.server.store.store import Store

__all__ = [
    "Changes",
    "ClaimTaken",
    "Committed",
    "Condition",
    "Database",
    "GuardFailed",
    "Query",
    "Record",
    "RowMissing",
    "Store",
    "StoreError",
    "Touched",
    "TypeMap",
]
