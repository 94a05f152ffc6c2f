"""Rights end at once, also for connections that are open.

A WebSocket is authenticated when it is opened. Whoever serves one watches its caller here, and closes it when the
key, session, account or membership that let the caller in is taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drover.server.api.auth.directory import USABLE_STATES
from drover.server.api.caller import Caller
from drover.server.store import Record, Store, Touched

Row = tuple[str, int]
Callback = Callable[[], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Watcher:
    caller: Caller
    callback: Callback


class Revocations:
    """Calls back, once, when a caller may no longer act as it did."""

    def __init__(self, store: Store) -> None:
        self._watchers: dict[Row, set[_Watcher]] = {}
        store.listen(self._hear)

    def watch(self, caller: Caller, callback: Callback) -> Callable[[], None]:
        """``callback`` must be quick and not raise. Returns the function that ends the watch."""
        watcher = _Watcher(caller, callback)
        for row in _rows_behind(caller):
            self._watchers.setdefault(row, set()).add(watcher)
        return lambda: self._forget(watcher)

    def _forget(self, watcher: _Watcher) -> None:
        for row in _rows_behind(watcher.caller):
            found = self._watchers.get(row)
            if found is not None:
                found.discard(watcher)
                if not found:
                    del self._watchers[row]

    def _hear(self, touched: Sequence[Touched]) -> None:
        if not self._watchers:
            return
        for row in touched:
            if row.type == "projectMember":
                self._hear_member(row)
            elif row.type in ("account", "credential", "authToken") and _ended(row):
                self._revoke(self._watchers.get((row.type, row.id), set()))

    def _hear_member(self, row: Touched) -> None:
        """A changed role counts as well: the stream was opened with the rights of the old one."""
        before = row.before
        if before is None or not (_gone(row.after) or row.changed("role")):
            return
        identity = (before["externalIdType"], before["externalId"])
        watchers = self._watchers.get(("project", int(before["projectId"])), set())
        self._revoke(
            {
                each
                for each in watchers
                if identity in {(known.external_id_type, known.external_id) for known in each.caller.identities}
            }
        )

    def _revoke(self, watchers: set[_Watcher]) -> None:
        for watcher in list(watchers):
            self._forget(watcher)
            watcher.callback()


def _rows_behind(caller: Caller) -> set[Row]:
    """Everything whose loss ends the caller's rights."""
    rows: set[Row] = {("account", caller.account_id), ("account", caller.policy_account_id)}
    if caller.credential_id is not None:
        rows.add(("authToken" if caller.auth_type == "TokenAuth" else "credential", caller.credential_id))
    if caller.project_id is not None and caller.projects.get(caller.project_id):
        rows.add(("project", caller.project_id))
    return rows


def _ended(row: Touched) -> bool:
    if row.type == "authToken":
        return row.after is None
    return _gone(row.after) or (row.type == "account" and row.changed("kind"))


def _gone(record: Record | None) -> bool:
    if record is None or record["removed"] is not None:
        return True
    return record.state not in USABLE_STATES | {"requested", "registering", "activating"}
