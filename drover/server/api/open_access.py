"""The authenticator of a server without access control: whoever comes is the administrator.

For laboratories and tests. Inside a project the administrator acts as its owner, as with access control on.
"""

from __future__ import annotations

from starlette.requests import HTTPConnection

from drover.server.api.caller import Caller
from drover.server.api.errors import ApiError, forbidden
from drover.server.api.ids import parse_row_id
from drover.server.store import Store

_CLOSED = frozenset({"removing", "removed", "purging", "purged", "inactive", "deactivating"})


class OpenAccess:
    """Everybody is the first administrator, or account 1 while there is none."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def __call__(
        self, connection: HTTPConnection, *, project: str | None = None, type_name: str | None = None
    ) -> Caller | None:
        chosen = project or connection.headers.get("x-api-project-id") or connection.query_params.get("projectId")
        if not chosen:
            return Caller(
                account_id=1,
                policy_account_id=1,
                role="admin",
                account_kind="admin",
                account_name="admin",
                auth_type="AdminAuth",
                list_all_accounts=True,
                all_accounts=True,
                list_all_settings=True,
                plain_ids=True,
            )
        project_id = parse_row_id(chosen, plain=True)
        if project_id is None:
            raise ApiError(400, "InvalidFormat", f"{chosen!r} is not the id of a project", field_name="projectId")
        record = await self._store.get("account", project_id)
        if record is None or record.kind != "project" or record["removed"] or record.state in _CLOSED:
            raise forbidden(f"There is no project {chosen} that you may use")
        return Caller(
            account_id=1,
            policy_account_id=project_id,
            project_id=project_id,
            role="owner",
            account_kind="admin",
            account_name="admin",
            auth_type="AdminAuth",
            project_owner=True,
            plain_ids=True,
            list_all_settings=True,
        )
