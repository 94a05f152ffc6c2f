"""The identity of an agent: an account of its own and a key, which the agent presents on its channel."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from drover.common.clock import now_ms
from drover.server.orchestration.credentials import new_public_value, new_secret_value, seal
from drover.server.orchestration.vault import Vault
from drover.server.store import Changes, Record


def plan_account(
    changes: Changes, vault: Vault, agent_id: int, *, role: str, environment_id: int | None
) -> tuple[Record, Record]:
    """Plan the account of an agent and its key; returns both.

    ``role`` is ``agent`` for a plain agent, ``environment`` or ``environmentAdmin`` for an account that acts for the
    environment. The key is kept encrypted, not hashed, because it is handed out again when the agent registers anew.
    """
    suffix = "" if role == "agent" else f"-{role}"
    account = changes.insert(
        "account",
        _row(
            kind="agent",
            uuid=f"agentAccount{agent_id}{suffix}",
            name=f"agent {agent_id}{suffix}",
            agentId=agent_id,
            agentRole=role,
            actsForAccountId=environment_id,
        ),
    )
    credential = changes.insert(
        "credential",
        _row(
            kind="agentApiKey",
            accountId=account.id,
            publicValue=new_public_value(),
            secretValue=seal(new_secret_value(), vault, kind="agentApiKey"),
        ),
    )
    return account, credential


def plan_instance_agent(
    changes: Changes, vault: Vault, *, uri: str, environment_id: int, roles: Sequence[str], system: bool
) -> tuple[Record, list[tuple[str, Record]]]:
    """Plan the agent behind a container: active at once, with an account and a key for each role.

    Returns the agent and the keys by role, the agent's own first.
    """
    agent = changes.insert("agent", _row(kind="agent", uri=uri, agentResourcesAccountId=environment_id, system=system))
    ordered = sorted(dict.fromkeys(roles or ("agent",)), key=("agent", "environmentAdmin", "environment").index)
    keys: list[tuple[str, Record]] = []
    accounts: list[Record] = []
    for role in ordered:
        account, key = plan_account(changes, vault, agent.id, role=role, environment_id=environment_id)
        accounts.append(account)
        keys.append((role, key))
    changes.update(
        agent,
        {"accountId": accounts[0].id, "authorizedRoleAccountIds": [account.id for account in accounts[1:]]},
    )
    return agent, keys


def _row(**values: Any) -> dict[str, Any]:
    return {"uuid": str(uuid.uuid4()), "state": "active", "created": now_ms(), **values}
