"""Who is asking, and on whose behalf.

Authentication turns a connection into a :class:`Caller` once; everything after it (schemas, scoping, rendering,
audit) reads the caller alone and never looks at headers again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from starlette.requests import HTTPConnection

# Rancher 1.6: setting modify.infrastructure.roles.
INFRASTRUCTURE_ROLES = frozenset(
    {"superadmin", "admin", "service", "owner", "member", "project", "environment", "projectadmin", "agent"}
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a login provider says about a person or group: ``rancher_id:5``, ``github_team:12``."""

    external_id: str
    external_id_type: str
    name: str | None = None
    login: str | None = None
    user: bool = True

    @property
    def id(self) -> str:
        return f"1i!{self.external_id_type}:{self.external_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated account, the account it acts for, and what it may do there.

    ``account_id`` is who logged in; ``policy_account_id`` the account whose resources are meant: the project when one
    was chosen (``project_id`` is then the same number), else the own account. ``role`` selects the schemas.
    """

    account_id: int
    policy_account_id: int
    role: str
    account_kind: str
    account_name: str | None = None
    project_id: int | None = None
    auth_type: str = "BasicAuth"  # AdminAuth, BasicAuth, TokenAuth, TokenAccount, RegistrationToken
    identities: tuple[Identity, ...] = ()
    agent_id: int | None = None
    credential_id: int | None = None  # the key or session that was used, to close streams when it is revoked
    token_key: str | None = field(default=None, repr=False)
    list_all_accounts: bool = False  # lists are not limited to the own account
    all_accounts: bool = False  # may read, write and set the account of any row
    list_all_settings: bool = False
    plain_ids: bool = False  # may ask for numbers instead of ids
    raw_subscriptions: bool = False
    project_owner: bool = False  # may change the chosen project and its members
    projects: Mapping[int, str] = field(default_factory=dict)  # the environments of a person -> the best role in each

    @property
    def modify_infra(self) -> bool:
        return self.role in INFRASTRUCTURE_ROLES

    @property
    def above_admins(self) -> bool:
        """Whether the caller may hand out the rights of the super administrator: itself, and whoever comes to a
        laboratory without access control (tools make their keys for it there).
        """
        return self.account_kind == "superadmin" or self.auth_type == "AdminAuth"

    @property
    def user_identity(self) -> Identity | None:
        """The identity that stands for the person in the audit log: the one of a user type, else the only one."""
        for identity in self.identities:
            if "user" in identity.external_id_type:
                return identity
        return self.identities[0] if len(self.identities) == 1 else None


class Authenticator(Protocol):
    """Finds out who is asking.

    ``project`` is the id that the path names (``/v2-beta/projects/1a5/...``), as text; other ways to choose a project
    (headers, query, user name) are the authenticator's business. ``type_name`` is the singular name of the type asked
    for, or None. Returns None when nobody is recognised (401); raises :class:`~drover.server.api.errors.ApiError`
    for what is refused for another reason (400 for an id that makes no sense, 403 for a foreign project).
    """

    async def __call__(
        self, connection: HTTPConnection, *, project: str | None = None, type_name: str | None = None
    ) -> Caller | None: ...
