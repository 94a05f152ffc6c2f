"""Finished responses by the bytes of the request, for as long as the world stays as it is."""

from __future__ import annotations

LIMIT = 8 * 1024 * 1024
"""Bytes of all remembered responses together; beyond it everything is forgotten and begins anew."""


class Memo:
    """One table for each client address, because `self` differs. Tables are emptied in place: connections hold them."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[bytes, bytes]] = {}
        self._size = 0

    def of(self, client: str) -> dict[bytes, bytes]:
        table = self._tables.get(client)
        if table is None:
            table = self._tables[client] = {}
        return table

    def store(self, client: str, request: bytes, response: bytes) -> None:
        size = len(request) + len(response)
        if size > LIMIT:
            return
        if self._size + size > LIMIT:
            self.clear()
        self.of(client)[request] = response
        self._size += size

    def release(self, client: str) -> None:
        """The last connection from this address is gone."""
        table = self._tables.pop(client, None)
        if table:
            self._size -= sum(len(request) + len(response) for request, response in table.items())

    def clear(self) -> None:
        for table in self._tables.values():
            table.clear()
        self._size = 0
