"""Where a router has its pre-shared key from, in the order of Rancher 1.6.

An operator's key (`RANCHER_IPSEC_PSK`); the token of the own service (`TOKEN_PSK=true`); the server, asked with the
router's own agent keys. Drover's server may name several keys while it exchanges one for another: the first is to be
used, the others are to be accepted, and it says when to ask again. What was received last is kept in a file, readable
by root alone, so that a router that starts while the server is away is not mute.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import structlog

from drover.common.errors import DroverError
from drover.host.network.routers.settings import IpsecSettings

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 15.0
_MAX_KEY = 4096


class NoKey(DroverError):
    """There is no pre-shared key to be had at present."""


class Keys(msgspec.Struct, frozen=True):
    """The valid keys, the one to use first, and after how many seconds they may change by themselves."""

    keys: tuple[str, ...]
    refresh_seconds: float | None = None

    def __repr__(self) -> str:
        return f"Keys({len(self.keys)} keys, refresh_seconds={self.refresh_seconds})"


@dataclass(frozen=True, slots=True)
class KeySource:
    """Reads the keys as the settings say."""

    settings: IpsecSettings

    async def read(self) -> Keys:
        """Raises NoKey, which says what to do."""
        settings = self.settings
        if settings.psk:
            return Keys((settings.psk.strip(),))
        try:
            keys = await (self._from_token() if settings.token_psk else self._from_server())
        except (aiohttp.ClientError, OSError, TimeoutError, NoKey) as error:
            kept = self._kept()
            if kept is None:
                raise NoKey(str(error) or f"no answer within {TIMEOUT_SECONDS:.0f} s") from error
            log.warning("key.kept", reason=str(error) or type(error).__name__)
            return kept
        self._keep(keys)
        return keys

    async def _from_token(self) -> Keys:
        url = f"{self.settings.metadata_url.rstrip('/')}/2016-07-29/self/service/token"
        async with _session() as session, session.get(url) as answer:
            if answer.status != 200:
                raise NoKey(f"metadata answered {answer.status} for the service's token")
            return Keys((_one_key(await answer.text()),))

    async def _from_server(self) -> Keys:
        settings = self.settings
        if not (settings.server_url and settings.access_key and settings.secret_key):
            raise NoKey(
                "no key and no server to ask: set RANCHER_IPSEC_PSK, or label the container "
                "io.rancher.container.create_agent=true so that it gets CATTLE_URL and keys"
            )
        url = f"{settings.server_url.rstrip('/')}/configcontent/psk"
        login = aiohttp.encode_basic_auth(settings.access_key, settings.secret_key)
        async with _session({"Authorization": login}) as session:
            async with session.get(url, params={"keys": "all"}) as answer:
                if answer.status != 200:
                    raise NoKey(f"the server answered {answer.status} for the pre-shared key at {url}")
                keys = parse_keys(await answer.read())
            async with session.put(url, params={"version": "latest"}) as answer:
                if answer.status >= 400:
                    log.info("key.not-acknowledged", status=answer.status)
        return keys

    @property
    def _file(self) -> Path:
        return self.settings.state_dir / "keys.json"

    def _kept(self) -> Keys | None:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Keys)
        except (OSError, msgspec.DecodeError):
            return None

    def _keep(self, keys: Keys) -> None:
        self.settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._file.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(keys))
        draft.replace(self._file)


def parse_keys(body: bytes) -> Keys:
    """Drover's answer, or the original's, which is the key itself. Raises NoKey for what is neither."""
    if body.lstrip().startswith(b"{"):
        try:
            keys = msgspec.json.decode(body, type=Keys)
        except msgspec.DecodeError as error:
            raise NoKey(f"the server's answer is no list of keys: {error}") from error
        if not keys.keys or not all(keys.keys):
            raise NoKey("the server's list of keys is empty")
        return keys
    return Keys((_one_key(body.decode(errors="replace")),))


def _one_key(text: str) -> str:
    key = text.strip()
    if not key or len(key) > _MAX_KEY:
        raise NoKey(f"a pre-shared key of {len(key)} characters is of no use")
    return key


def _session(headers: Mapping[str, str] | None = None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))
