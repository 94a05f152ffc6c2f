"""Log-in sessions: opaque keys of 40 characters, good for 16 hours, ended by deleting their row.

The row keeps a keyed hash, so neither the database nor a backup of it contains a key that works. Rancher 1.6 kept
signed and encrypted tokens behind such keys; clients only ever saw the key.
"""

from __future__ import annotations

from collections.abc import Sequence

from drover.common.clock import now_ms
from drover.server.api.auth.cache import RowCache
from drover.server.orchestration.context import Context
from drover.server.orchestration.credentials import new_secret_value
from drover.server.store import Condition, Query, Record, Touched

TYPE = "authToken"

_HASH_LENGTH = 40
_PURGE_BATCH = 500


class Sessions:
    """Opens, finds and ends sessions."""

    def __init__(self, context: Context) -> None:
        self._store = context.store
        self._settings = context.settings
        self._vault = context.vault
        self._found: RowCache[str, Record | None] = RowCache(context.store)
        context.store.listen(self._hear)

    async def open(self, account_id: int, *, provider: str) -> str:
        """A new session; returns its key, which is not kept anywhere."""
        key = new_secret_value()
        now = now_ms()
        changes = self._store.changes()
        if self._settings.bool("api.auth.restrict.concurrent.sessions"):
            for other in await self._store.find_by(TYPE, accountId=account_id):
                changes.delete(other)
        changes.insert(
            TYPE,
            {
                "accountId": account_id,
                "authenticatedAsAccountId": account_id,
                "created": now,
                "expires": now + self._settings.int("api.auth.jwt.token.expiry"),
                "key": self._hash(key),
                "provider": provider,
                "version": "v1",
            },
        )
        await self._store.commit(changes)
        await self._purge_expired(now)
        return key

    async def find(self, key: str) -> Record | None:
        """The live session of a key."""
        hashed = self._hash(key)
        session = await self._found.get(
            hashed, lambda: self._store.first(TYPE, key=hashed), lambda found: [(TYPE, found.id)] if found else []
        )
        return session if session is not None and int(session["expires"]) > now_ms() else None

    async def close(self, key: str) -> bool:
        """End one session; False when there is none."""
        session = await self.find(key)
        if session is None:
            return False
        changes = self._store.changes()
        changes.delete(session)
        await self._store.commit(changes)
        return True

    async def _purge_expired(self, now: int) -> None:
        """Log-ins clean up after older ones, so that nothing has to run while the server is idle."""
        expired = await self._store.find(Query(TYPE, (Condition("expires", "lt", now),), limit=_PURGE_BATCH))
        if not expired:
            return
        changes = self._store.changes()
        for session in expired:
            changes.delete(session)
        await self._store.commit(changes)

    def _hash(self, key: str) -> str:
        return self._vault.digest(key, purpose="session")[:_HASH_LENGTH]

    def _hear(self, touched: Sequence[Touched]) -> None:
        for row in touched:
            if row.type == TYPE:
                self._found.drop_row((row.type, row.id))
