"""All records as a file, in the form of Rancher 1.6's ``answers.json``: for looking, and to serve from without a
metadata service.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import structlog

from drover.host.dns.records import ZONE, Answer
from drover.host.dns.view import Shared, View

log = structlog.get_logger(__name__)

SECONDS_BETWEEN = 15.0


def document(shared: Shared, servers: tuple[str, ...]) -> dict[str, Any]:
    """By client address, and ``default``. The misspelt key is the original's."""
    shown = {"default": _section(shared.default, shared.records, (*shared.default.upstreams, *servers))}
    for address, view in sorted(shared.clients.items()):
        shown[address] = _section(view, view.records, view.upstreams)
    return shown


def _section(view: View, records: dict[str, Answer], servers: tuple[str, ...]) -> dict[str, Any]:
    ordered = sorted(records.items())
    return {
        "search": [each.rstrip(".") for each in view.search],
        "recurse": list(servers),
        "authorative": [ZONE.rstrip(".")],
        "a": {name: {"answer": each.texts_of_addresses} for name, each in ordered if each.addresses},
        "cname": {name: {"answer": each.alias} for name, each in ordered if each.alias},
    }


async def keep_written(path: Path, shared: Shared, servers: tuple[str, ...]) -> None:
    """Write the file after changes, at most once in a while: nobody but a person reads it."""
    while True:
        await shared.changed.wait()
        shared.changed.clear()
        body = msgspec.json.encode(document(shared, servers))
        try:
            await asyncio.to_thread(_write, path, body)
        except OSError as error:
            log.warning("records cannot be written down", path=str(path), error=str(error))
        await asyncio.sleep(SECONDS_BETWEEN)


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_bytes(body + b"\n")
    new.replace(path)
