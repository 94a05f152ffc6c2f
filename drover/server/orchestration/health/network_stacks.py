"""The stacks that make an environment's network: while one is upgraded, checks fail for no fault of a container.

Source: Rancher 1.6, which refused verdicts during that time, also for ever when nobody finished the upgrade. Here
verdicts are taken and the conclusion waits, only while the network is really being changed and a moment after.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from drover.server.store import Record, Store, Touched

SERVICE_KIND = "networkDriverService"
SETTLING_SECONDS = 30.0
_CHANGING = frozenset({"upgrading", "rolling-back", "canceling-upgrade", "finishing-upgrade", "restarting"})


class NetworkStacks:
    """Knows the services of every stack with a network driver. Await :meth:`ready` before asking."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._stacks: dict[int, int] = {}
        self._changing: dict[int, int] = {}
        self._busy_until: dict[int, float] = {}
        self._callbacks: list[Callable[[int, float], None]] = []
        self._loaded = False
        store.listen(self._hear)

    def on_settled(self, callback: Callable[[int, float], None]) -> None:
        """Call ``callback(account_id, seconds)``: in so many seconds conclusions may be drawn again."""
        self._callbacks.append(callback)

    async def ready(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for driver in await self._store.find_by("service", kind=SERVICE_KIND, removed=None):
            self._see(driver)
        if self._stacks:
            for service in await self._store.find_by("service", stackId=sorted(self._stacks), removed=None):
                self._see(service)

    def has(self, stack_id: int | None) -> bool:
        """Whether the stack contains a network driver."""
        return stack_id is not None and stack_id in self._stacks

    def busy(self, account_id: int) -> bool:
        """Whether the environment's network is being changed, or was a moment ago."""
        return account_id in self._changing.values() or self._busy_until.get(account_id, 0.0) > self._clock()

    def _hear(self, touched: Sequence[Touched]) -> None:
        for row in touched:
            if row.type == "service" and row.after is not None:
                self._see(row.after)

    def _see(self, service: Record) -> None:
        stack_id, account_id = service["stackId"], service.account_id
        if stack_id is None or account_id is None:
            return
        gone = bool(service["removed"])
        if service.kind == SERVICE_KIND:
            if gone:
                self._stacks.pop(int(stack_id), None)
            else:
                self._stacks[int(stack_id)] = account_id
        if int(stack_id) in self._stacks and service.state in _CHANGING and not gone:
            self._changing[service.id] = account_id
        elif self._changing.pop(service.id, None) is not None and account_id not in self._changing.values():
            self._busy_until[account_id] = self._clock() + SETTLING_SECONDS
            for callback in self._callbacks:
                callback(account_id, SETTLING_SECONDS)
