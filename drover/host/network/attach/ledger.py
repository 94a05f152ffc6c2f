"""What was changed on bridges that others own, so that a clean-up takes back exactly that."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec

from drover.host.network.attach.files import write_atomically


class BridgeEntry(msgspec.Struct, frozen=True):
    """`created`: the bridge itself is ours. `addresses` with prefix length."""

    created: bool = False
    promiscuous: bool = False
    addresses: tuple[str, ...] = ()


class BridgeLedger:
    """Entries by bridge, kept in a file; used from several threads."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._entries = _read(file)

    @property
    def entries(self) -> dict[str, BridgeEntry]:
        return dict(self._entries)

    def created(self, bridge: str) -> None:
        self._note(bridge, created=True)

    def made_promiscuous(self, bridge: str) -> None:
        self._note(bridge, promiscuous=True)

    def address_added(self, bridge: str, address: str) -> None:
        with self._lock:
            known = self._entries.get(bridge, BridgeEntry()).addresses
        if address not in known:
            self._note(bridge, addresses=(*known, address))

    def _note(self, bridge: str, **changes: object) -> None:
        with self._lock:
            entry = self._entries.get(bridge, BridgeEntry())
            changed = msgspec.structs.replace(entry, **changes)
            if changed != entry:
                self._entries[bridge] = changed
                write_atomically(self._file, msgspec.json.encode(self._entries))


def _read(file: Path) -> dict[str, BridgeEntry]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, BridgeEntry])
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return {}
