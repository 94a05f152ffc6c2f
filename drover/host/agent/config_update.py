"""`config.update`: the server says that configuration items changed.

The original answered by running scripts that it had downloaded. This agent is configured by its package; what is
left to update is the key that verifies stream tokens. Each item is marked as applied, so that the server stops
asking.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import structlog

from drover.host.agent.images import Progress
from drover.host.agent.payload import ConfigUpdateRequest, decode
from drover.host.agent.server import Server, ServerError
from drover.host.agent.stream_tokens import TokenVerifier

log = structlog.get_logger(__name__)

HOST_CONFIG = "host-config"
_ITEM_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")


class ConfigUpdater:
    def __init__(self, server: Server, verifier: TokenVerifier) -> None:
        self._server = server
        self._verifier = verifier

    async def update(self, data: msgspec.Raw, _: Progress) -> dict[str, Any]:
        """Raises AgentError when the key cannot be fetched; the server then asks again."""
        request = decode(data, ConfigUpdateRequest)
        for item in request.items or ():
            name = item.name or ""
            if not _ITEM_NAME.fullmatch(name):
                log.warning("config.item.ignored", item=name[:128])
                continue
            if name == HOST_CONFIG:
                await self._verifier.refresh()
            await self._mark_applied(name)
        return {}

    async def _mark_applied(self, name: str) -> None:
        try:
            await self._server.put(f"configcontent/{name}", params={"version": "latest"})
        except ServerError as error:
            # A server without configuration items answers 404, and has nothing to be told.
            if error.status not in (404, 405):
                raise
