"""Small files that others read while we write them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec


def write_atomically(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Whoever reads finds the old content or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.chmod(mode)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    """None when the file is not there or holds no JSON."""
    try:
        return msgspec.json.decode(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
