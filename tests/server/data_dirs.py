"""Data directories as the first start of a server leaves them, as far as that takes long: the tables and the keys.

Both are made once a test process and copied for every test, which costs a hundredth of making them again. Tests of the
making itself (migrations, keys, the first start of a program) use empty directories instead.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from drover.server.orchestration.host_api_keys import HostApiKeys
from drover.server.store import Database
from drover.server.store.database import database_url
from drover.server.store.schema import migrate

_made: dict[str, bytes] = {}


async def prepare(path: Path) -> Path:
    """The directory with a database without rows and the host API's keys in it; a database that is there stays."""
    if not _made:
        with TemporaryDirectory() as scratch:
            _made.update(await _make(Path(scratch)))
    path.mkdir(parents=True, exist_ok=True)
    for name, content in _made.items():
        file = path / name
        if not file.exists():
            file.touch(mode=0o600)
            file.write_bytes(content)
    return path


async def _make(path: Path) -> dict[str, bytes]:
    database = Database(database_url("", data_dir=path))
    await migrate(database)
    await database.close()
    HostApiKeys.open(path)
    return {each.name: each.read_bytes() for each in path.iterdir()}
