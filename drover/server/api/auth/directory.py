"""Accounts, memberships, agents and keys as authentication needs them: read once, dropped by the commit that counts.

Agents show their key with every request, so a request must not cost a statement; and a key that was taken away must
not work for one more request, so nothing is remembered longer than it is true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drover.common.clock import now_ms
from drover.server.api.auth.cache import Row, RowCache
from drover.server.api.caller import Identity
from drover.server.orchestration.context import Context
from drover.server.orchestration.credentials import secret_matches, unseal
from drover.server.orchestration.registration_token import TokenParts, parse_token, token_matches
from drover.server.orchestration.vault import VaultError
from drover.server.store import Condition, Query, Record, Touched

RANCHER_ID = "rancher_id"

# A process that passes through one of these leaves the account or key as usable as it was.
USABLE_STATES = frozenset({"active", "updating-active", "upgrading"})
ADMIN_KINDS = frozenset({"admin", "superadmin", "service"})

# What an agent was made for -> its role in the environment that it acts for.
_ROLES_OF_AGENTS = {"environment": "environment", "environmentAdmin": "projectadmin"}

_MEMBERS: Row = ("projectMember", 0)
_ACCOUNTS: Row = ("account", 0)
_LONGEST_KEY = 256


@dataclass(frozen=True, slots=True)
class AgentLink:
    """The agent behind an account; ``acts_for`` is the environment in whose name it may act, ``role`` as what."""

    id: int
    acts_for: int | None = None
    role: str | None = None


def usable(record: Record | None) -> bool:
    return record is not None and record["removed"] is None and record.state in USABLE_STATES


class Directory:
    """Looks people, environments and programs up."""

    def __init__(self, context: Context) -> None:
        self._store = context.store
        self._settings = context.settings
        self._vault = context.vault
        self._accounts: RowCache[int, Record | None] = RowCache(context.store)
        self._names: RowCache[str, Record | None] = RowCache(context.store)
        self._memberships: RowCache[tuple[str, ...], Mapping[int, str]] = RowCache(context.store)
        self._agents: RowCache[int, AgentLink | None] = RowCache(context.store)
        self._keys: RowCache[str, Record | None] = RowCache(context.store)
        context.store.listen(self._hear)

    # Accounts

    async def account(self, account_id: int) -> Record | None:
        return await self._accounts.get(
            account_id, lambda: self._store.get("account", account_id), lambda found: _row_of(found)
        )

    async def seeded(self, uuid: str) -> Record | None:
        """One of the accounts that every server has, such as ``token`` or ``register``."""
        return await self._names.get(
            uuid, lambda: self._store.first("account", uuid=uuid), lambda found: _row_of(found)
        )

    async def first_admin(self) -> Record | None:
        """Whom everybody is taken for while access control is off."""
        return await self._names.get("kind=admin", self._find_admin, lambda found: (_ACCOUNTS,))

    async def _find_admin(self) -> Record | None:
        return await self._store.first("account", kind="admin", removed=None, state=tuple(USABLE_STATES))

    def identities(self, account: Record) -> tuple[Identity, ...]:
        """Under which names projects know the account. Local ones go by their number."""
        own = Identity(str(account.id), RANCHER_ID, name=account.name, login=account.name)
        external, external_type = account["externalId"], account["externalIdType"]
        if external and external_type and external_type != RANCHER_ID:
            return own, Identity(str(external), str(external_type), name=account.name, login=account.name)
        return (own,)

    async def memberships(self, identities: Sequence[Identity]) -> Mapping[int, str]:
        """Project number -> the best role that any of the identities has there."""
        key = tuple(sorted(f"{each.external_id_type}:{each.external_id}" for each in identities))
        return await self._memberships.get(key, lambda: self._find_memberships(identities), lambda _: (_MEMBERS,))

    async def _find_memberships(self, identities: Sequence[Identity]) -> Mapping[int, str]:
        wanted = {(each.external_id_type, each.external_id) for each in identities}
        rows = await self._store.find(
            Query(
                "projectMember",
                (
                    Condition("externalId", "in", sorted({external_id for _, external_id in wanted})),
                    Condition("removed", "null"),
                    Condition("state", "eq", "active"),
                ),
            )
        )
        roles: dict[int, str] = {}
        for row in rows:
            if (row["externalIdType"], row["externalId"]) not in wanted:
                continue
            project_id, role = int(row["projectId"]), str(row["role"] or "")
            if project_id not in roles or self.priority(role) < self.priority(roles[project_id]):
                roles[project_id] = role
        return roles

    def priority(self, role: str) -> int:
        """0 is the strongest; an unknown role is the weakest."""
        text = self._settings.get(f"api.security.role.priority.{role}")
        return int(text) if text.isdigit() else 1_000_000

    async def agent(self, account: Record) -> AgentLink | None:
        return await self._agents.get(
            account.id,
            lambda: self._find_agent(account),
            lambda found: [("account", account.id), ("agent", found.id)] if found else [],
        )

    async def _find_agent(self, account: Record) -> AgentLink | None:
        if account["agentId"] is not None:
            acts_for = account["actsForAccountId"]
            role = _ROLES_OF_AGENTS.get(str(account["agentRole"]))
            if acts_for is None or role is None:
                return AgentLink(int(account["agentId"]))
            return AgentLink(int(account["agentId"]), int(acts_for), role)
        agent = await self._store.first("agent", accountId=account.id, removed=None)
        return None if agent is None else AgentLink(agent.id)

    # Keys

    async def key(self, public_value: str, secret: str) -> Record | None:
        """The active credential that this pair proves, whatever account it belongs to."""
        if not public_value or len(public_value) > _LONGEST_KEY or len(secret) > _LONGEST_KEY:
            return None
        remembered = self._vault.digest(f"{len(public_value)}:{public_value}:{secret}", purpose="key cache")
        return await self._keys.get(
            remembered, lambda: self._find_key(public_value, secret), lambda found: _row_of(found)
        )

    async def _find_key(self, public_value: str, secret: str) -> Record | None:
        kinds = {each.strip() for each in self._settings.get("account.by.key.credential.types").split(",")}
        rows = await self._store.find_by(
            "credential", publicValue=public_value, removed=None, kind=tuple(sorted(kinds))
        )
        for row in rows:
            if usable(row) and secret_matches(str(row["secretValue"] or ""), secret, self._vault, kind=row.kind):
                return row
        return None

    async def owner_of_key(self, public_value: str) -> int | None:
        """The account of an API key, known by its public half only."""
        row = await self._store.first("credential", publicValue=public_value, removed=None, kind="apiKey")
        return row.account_id if row is not None and usable(row) else None

    async def registration(self, text: str) -> Record | None:
        """The active ``registrationToken`` that a token text was made from."""
        parts = parse_token(text)
        if parts is None:
            return None
        return await self._keys.get(
            self._vault.digest(text, purpose="registration cache"),
            lambda: self._find_registration(parts),
            lambda found: _row_of(found),
        )

    async def _find_registration(self, parts: TokenParts) -> Record | None:
        period = self._settings.int("registration.token.period.millis")
        rows = await self._store.find_by(
            "credential", publicValue=parts.access_key, removed=None, kind="registrationToken"
        )
        for row in rows:
            try:
                secret = unseal(row, self._vault)
            except VaultError:
                continue
            if usable(row) and token_matches(parts, secret, now_ms=now_ms(), period_ms=period):
                return row
        return None

    # Staying true

    def _hear(self, touched: Sequence[Touched]) -> None:
        for row in touched:
            match row.type:
                case "account":
                    self._accounts.drop_row((row.type, row.id))
                    self._agents.drop_row((row.type, row.id))
                    self._names.drop_row((row.type, row.id))
                    self._names.drop_row(_ACCOUNTS)
                case "credential":
                    self._keys.drop_row((row.type, row.id))
                case "projectMember":
                    self._memberships.drop_row(_MEMBERS)
                case "agent":
                    self._agents.drop_row((row.type, row.id))


def _row_of(found: Record | None) -> list[Row]:
    return [] if found is None else [(found.type, found.id)]
