"""The result of an attachment, where the agent looks for it: `<state>/cni/<container>/<State.StartedAt>`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from drover.host.network.attach.files import read_json, write_atomically


class Outcomes:
    """One folder a container, one file a start of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self) -> None:
        """The folder itself says to the agent that a network manager is at work."""
        self._folder.mkdir(parents=True, exist_ok=True)

    def read(self, container: str, started_at: str) -> dict[str, Any] | None:
        """The result of this start, if it was attached."""
        content = read_json(self._folder / container / started_at)
        return content if isinstance(content, dict) and "ip4" in content else None

    def write(self, container: str, started_at: str, result: Mapping[str, Any]) -> None:
        folder = self._folder / container
        write_atomically(folder / started_at, msgspec.json.encode(result))
        for other in folder.iterdir():
            if other.name != started_at:
                other.unlink(missing_ok=True)

    def write_error(self, container: str, started_at: str, text: str) -> None:
        self.write(container, started_at, {"error": text})

    def remove(self, container: str) -> None:
        shutil.rmtree(self._folder / container, ignore_errors=True)

    def keep_only(self, containers: Iterable[str]) -> None:
        """Forgets containers that the engine no longer has; call it only with a complete list."""
        known = set(containers)
        if self._folder.is_dir():
            for folder in self._folder.iterdir():
                if folder.name not in known:
                    shutil.rmtree(folder, ignore_errors=True)
