"""The keys a container finds in its environment when it has an agent of its own."""

from __future__ import annotations

import base64

from drover.server.orchestration.credentials import unseal
from drover.server.orchestration.vault import Vault
from drover.server.store import Record, Store


async def environment_of(store: Store, vault: Vault, instance: Record) -> dict[str, str]:
    """Variables with the keys of the container's agent: none without an agent."""
    if instance["agentId"] is None:
        return {}
    agent = await store.get("agent", int(instance["agentId"]))
    if agent is None or agent.account_id is None:
        return {}
    ids = [agent.account_id, *(agent["authorizedRoleAccountIds"] or [])]
    accounts = await store.get_many("account", ids)
    keys = await store.find_by("credential", accountId=ids, kind="agentApiKey", state="active", removed=None)
    by_account = {key["accountId"]: key for key in keys}
    if len(ids) == 1:
        return _variables(vault, by_account.get(ids[0]), "")
    variables: dict[str, str] = {}
    for account_id in ids:
        account = accounts.get(account_id)
        role = str(account["agentRole"]) if account is not None else "agent"
        scope = {"environment": "ENVIRONMENT_", "environmentAdmin": "ENVIRONMENT_ADMIN_"}.get(role, "AGENT_")
        variables.update(_variables(vault, by_account.get(account_id), scope))
    return variables


def _variables(vault: Vault, key: Record | None, scope: str) -> dict[str, str]:
    if key is None:
        return {}
    public, secret = str(key["publicValue"]), unseal(key, vault)
    basic = base64.b64encode(f"{public}:{secret}".encode()).decode()
    return {
        f"CATTLE_{scope}ACCESS_KEY": public,
        f"CATTLE_{scope}SECRET_KEY": secret,
        f"CATTLE_AGENT_INSTANCE_{scope}AUTH": f"Basic {basic}",
    }
