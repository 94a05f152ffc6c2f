"""Everything about access in one value: put together once by the server's assembly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drover.server.api.auth.authenticator import RequestAuthenticator
from drover.server.api.auth.directory import Directory
from drover.server.api.auth.limiter import LoginLimiter
from drover.server.api.auth.revocations import Revocations
from drover.server.api.auth.sessions import Sessions
from drover.server.orchestration.context import Context
from drover.server.orchestration.host_api_keys import HostApiKeys
from drover.server.orchestration.vault import Vault


@dataclass(frozen=True, slots=True)
class AccessControl:
    """The parts that decide who may do what. ``authenticate`` is what the API asks about each request."""

    context: Context
    vault: Vault
    host_keys: HostApiKeys
    directory: Directory
    sessions: Sessions
    limiter: LoginLimiter
    revocations: Revocations
    authenticate: RequestAuthenticator

    @classmethod
    def open(cls, context: Context, data_dir: Path) -> AccessControl:
        """With the keys in a data directory, which are made at the first start."""
        return cls.build(context, HostApiKeys.open(data_dir))

    @classmethod
    def build(cls, context: Context, host_keys: HostApiKeys) -> AccessControl:
        directory = Directory(context)
        sessions = Sessions(context)
        return cls(
            context=context,
            vault=context.vault,
            host_keys=host_keys,
            directory=directory,
            sessions=sessions,
            limiter=LoginLimiter(),
            revocations=Revocations(context.store),
            authenticate=RequestAuthenticator(context, directory, sessions),
        )
