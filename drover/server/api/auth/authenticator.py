"""From a request to a :class:`Caller`: which account, acting for which environment, in which role.

The ways to prove an identity are tried in a fixed order, and the first that succeeds decides (Rancher 1.6): a log-in
session, a registration token, a key pair, and with access control switched off nothing at all. Headers that merely
claim an identity are never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from starlette.requests import HTTPConnection

from drover.server.api.auth.basic import BasicCredentials, basic_credentials, session_keys
from drover.server.api.auth.directory import ADMIN_KINDS, USABLE_STATES, AgentLink, Directory, usable
from drover.server.api.auth.sessions import Sessions
from drover.server.api.caller import Caller
from drover.server.api.errors import ApiError, forbidden, invalid
from drover.server.api.ids import parse_row_id
from drover.server.orchestration.context import Context
from drover.server.store import Record

REGISTRATION_USER = "registrationToken"

# An environment that is just being made can be worked in; one that is off or leaving cannot.
_OPEN_PROJECT_STATES = USABLE_STATES | {"registering", "activating"}
_PEOPLE = frozenset({"admin", "user", "readAdmin", "superadmin"})


@dataclass(frozen=True, slots=True)
class _Proof:
    """An account that proved who it is, and how."""

    account: Record
    auth_type: str
    credential_id: int | None = None
    token_key: str | None = None
    project: str | None = None  # chosen by the user name of HTTP Basic


class RequestAuthenticator:
    """The :class:`~drover.server.api.caller.Authenticator` of the server."""

    def __init__(self, context: Context, directory: Directory, sessions: Sessions) -> None:
        self._settings = context.settings
        self._directory = directory
        self._sessions = sessions

    async def __call__(
        self, connection: HTTPConnection, *, project: str | None = None, type_name: str | None = None
    ) -> Caller | None:
        if type_name == "token":
            return await self._login_caller(connection)
        basic = basic_credentials(connection)
        proof = await self._by_session(connection)
        if proof is None and basic is not None and basic.user == REGISTRATION_USER:
            return await self._by_registration(basic)
        if proof is None and basic is not None:
            proof = await self._by_key(basic) or await self._by_bearer(basic)
        if proof is None:
            proof = await self._without_access_control(connection, basic)
        if proof is None:
            return None
        chosen = await self._chosen_project(connection, project, proof)
        return await self._caller(proof, chosen)

    # Proofs

    async def _login_caller(self, connection: HTTPConnection) -> Caller | None:
        """Logging in needs no identity; a session that comes along is read by the handler itself."""
        account = await self._directory.seeded("token")
        if not usable(account):
            return None
        assert account is not None
        keys = session_keys(connection)
        return Caller(
            account_id=account.id,
            policy_account_id=account.id,
            role="token",
            account_kind="token",
            account_name=account.name,
            auth_type="TokenAccount",
            token_key=keys[0] if keys else None,
        )

    async def _by_session(self, connection: HTTPConnection) -> _Proof | None:
        for key in session_keys(connection):
            if proof := await self._session(key):
                return proof
        return None

    async def _session(self, key: str) -> _Proof | None:
        session = await self._sessions.find(key)
        if session is None or session.account_id is None:
            return None
        self._require_present_provider(session)
        account = await self._directory.account(session.account_id)
        if not usable(account):
            return None
        assert account is not None
        return _Proof(account, "TokenAuth", session.id, key)

    def _require_present_provider(self, session: Record) -> None:
        configured = self._settings.get("api.auth.provider.configured")
        if configured and session["provider"] != configured:
            raise ApiError(401, "AuthProviderChanged", "The login provider has changed: log in again")

    async def _by_registration(self, basic: BasicCredentials) -> Caller | None:
        token = await self._directory.registration(basic.password)
        if token is None or token.account_id is None:
            return None
        project = await self._directory.account(token.account_id)
        account = await self._directory.seeded("register")
        if not usable(project) or account is None:
            return None
        assert project is not None
        return Caller(
            account_id=account.id,
            policy_account_id=project.id,
            role="register",
            account_kind="register",
            account_name=account.name,
            project_id=project.id,
            auth_type="RegistrationToken",
            credential_id=token.id,
        )

    async def _by_key(self, basic: BasicCredentials) -> _Proof | None:
        credential = await self._directory.key(basic.user, basic.password)
        if credential is None or credential.account_id is None:
            return None
        account = await self._directory.account(credential.account_id)
        if not usable(account):
            return None
        assert account is not None
        return _Proof(account, "BasicAuth", credential.id)

    async def _by_bearer(self, basic: BasicCredentials) -> _Proof | None:
        """Tools that only know HTTP Basic send a session key as password and the project in the user name."""
        project = basic.bearer_project
        if project is None:
            return None
        proof = await self._session(basic.password)
        return None if proof is None else replace(proof, project=project or None)

    async def _without_access_control(
        self, connection: HTTPConnection, basic: BasicCredentials | None
    ) -> _Proof | None:
        if self._settings.bool("api.security.enabled"):
            return None
        if connection.headers.get("x-enforce-authentication", "").lower() == "true":
            return None
        admin = await self._directory.first_admin()
        project = None if basic is None else basic.bearer_project
        return None if admin is None else _Proof(admin, "AdminAuth", project=project or None)

    # The environment

    async def _chosen_project(self, connection: HTTPConnection, path: str | None, proof: _Proof) -> int | None:
        text = (
            path
            or connection.headers.get("x-api-project-id")
            or connection.query_params.get("projectId")
            or proof.project
        )
        if text:
            number = parse_row_id(text.strip(), plain=proof.account.kind in ADMIN_KINDS)
            if number is None:
                error = invalid("InvalidFormat", "projectId", "The project id is not an id; use one like 1a5")
                error.status = 400
                raise error
            return number
        key = connection.headers.get("x-api-client-access-key")
        return await self._directory.owner_of_key(key) if key else None

    async def _caller(self, proof: _Proof, project_id: int | None) -> Caller:
        account = proof.account
        agent = await self._directory.agent(account) if account.kind == "agent" else None
        identities = self._directory.identities(account)
        projects: Mapping[int, str] = {}
        if account.kind in _PEOPLE:
            projects = await self._directory.memberships(identities)
        caller = Caller(
            account_id=account.id,
            policy_account_id=account.id,
            role=account.kind,
            account_kind=account.kind,
            account_name=account.name,
            auth_type=proof.auth_type,
            identities=identities,
            agent_id=agent.id if agent else None,
            credential_id=proof.credential_id,
            token_key=proof.token_key,
            list_all_accounts=self._option(account, "list.all.accounts") or account.kind == "readAdmin",
            all_accounts=self._option(account, "all.accounts"),
            list_all_settings=self._option(account, "list.all.settings") or account.kind == "readAdmin",
            plain_ids=self._option(account, "plain.id.option"),
            raw_subscriptions=self._settings.get(f"account.type.{account.kind}.subscription.style") == "raw",
            projects=projects,
        )
        own_project, own_role = _own_project(account, agent)
        if project_id is None:
            project_id = own_project
        if project_id is None:
            return caller
        role = own_role if project_id == own_project else _role_in(account, projects.get(project_id))
        if role is None:
            raise _foreign_project()
        await self._require_open(project_id, role)
        return replace(
            caller,
            policy_account_id=project_id,
            project_id=project_id,
            role=role,
            list_all_accounts=False,
            all_accounts=False,
            project_owner=role == "owner",
        )

    async def _require_open(self, project_id: int, role: str) -> None:
        project = await self._directory.account(project_id)
        if project is None or project.kind != "project" or project["removed"] is not None:
            raise _foreign_project()
        closed = project.state not in _OPEN_PROJECT_STATES
        if closed and role != "owner":
            raise _foreign_project()
        if closed and project.state != "inactive":
            raise forbidden(f"The environment is {project.state}; choose another one")

    def _option(self, account: Record, name: str) -> bool:
        return self._settings.bool(f"account.type.{account.kind}.{name}")


def _own_project(account: Record, agent: AgentLink | None) -> tuple[int | None, str | None]:
    """The environment that an account acts for without being asked, and its role there."""
    if account.kind == "project":
        return account.id, "project"
    return (None, None) if agent is None else (agent.acts_for, agent.role)


def _role_in(account: Record, membership: str | None) -> str | None:
    """The role in a project that was asked for; None when the account has no business there."""
    if account.kind in ADMIN_KINDS:
        return "owner"
    if membership is not None:
        return membership if membership in ("owner", "member", "restricted", "readonly") else "readonly"
    return "readonly" if account.kind == "readAdmin" else None


def _foreign_project() -> ApiError:
    return forbidden("There is no such environment, or you are not a member of it; ask one of its owners to add you")
