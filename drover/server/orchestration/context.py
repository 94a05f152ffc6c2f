"""What every part of the orchestration works with. Put together once, by the server's assembly."""

from __future__ import annotations

from dataclasses import dataclass

from drover.server.bus import Bus
from drover.server.lifecycle import Engine, Watch
from drover.server.orchestration.settings import Settings
from drover.server.orchestration.vault import Vault
from drover.server.store import Store


@dataclass(frozen=True, slots=True)
class Context:
    """The shared machinery of one server."""

    store: Store
    engine: Engine
    bus: Bus
    watch: Watch
    settings: Settings
    vault: Vault
