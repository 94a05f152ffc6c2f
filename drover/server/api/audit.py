"""The audit log: one row for every request that is not a GET, refused ones included.

Rows are gathered and written together a moment later, so that auditing costs a busy server no extra commit per
request; what waits is written before the server stops. Secrets never reach a row: they are taken out by the
declarations of the fields, and by name where a body has no declaration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from drover.common.clock import now_ms
from drover.server.api.call import Call
from drover.server.api.grammar import FieldType, parse_type
from drover.server.api.ids import parse_id
from drover.server.resources import Schema, catalog
from drover.server.store import Store, StoreError

log = structlog.get_logger(__name__)

TYPE = "auditLog"

_FLUSH_SECONDS = 0.25
_MOST_WAITING = 10_000
_LONGEST_BODY = 64 * 1024  # characters of a stored body
_EXCLUDED = frozenset(
    {
        "publish",
        "subscribe",
        "configContent",
        "externalHandler",
        "hostApiProxyToken",
        "token",
        "serviceEvent",
        "containerEvent",
        "externalEvent",
        "externalServiceEvent",
        "externalVolumeEvent",
        "externalStoragePoolEvent",
        "externalDnsEvent",
        "externalHostEvent",
        "userPreference",
        "dynamicSchema",
    }
)
_SECRET_NAMES = frozenset(
    {
        "secretvalue",
        "password",
        "oldsecret",
        "newsecret",
        "secret",
        "secretkey",
        "jwt",
        "token",
        "code",
        "serviceaccountpassword",
    }
)
# Secrets that are declared as plain text because clients know them as such.
_SECRET_FIELDS = {"secret": "value", "certificate": "key", "register": "key"}
_EVENT_NAMES = {"environment": "stack", "project": "environment"}
_OPERATIONS = {"POST": "create", "PUT": "update", "DELETE": "delete"}


class AuditTrail:
    """Gathers rows and writes them in batches. Whoever stops the server awaits :meth:`stop` before the store's."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[dict[str, Any]] = []
        self._gathering = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """Write what waits."""
        await asyncio.gather(*self._tasks)

    def record(
        self,
        call: Call,
        *,
        method: str,
        schema: Schema | None,
        action: str | None,
        resource_id: str | None,
        request_body: Mapping[str, Any],
        response: Response,
        milliseconds: int,
    ) -> None:
        type_name = schema.id if schema is not None else "unknown"
        if type_name in _EXCLUDED or len(self._waiting) >= _MOST_WAITING:
            return
        # A body sent to a misspelled URL has no declaration that would tell its secrets.
        understood = schema is not None and response.status_code not in (404, 405)
        row_id = parse_id(resource_id) if resource_id else None
        caller = call.caller
        identity = caller.user_identity
        event = f"api.{_EVENT_NAMES.get(type_name, type_name)}.{action or _OPERATIONS.get(method, method)}"
        self._waiting.append(
            {
                "kind": TYPE,
                "accountId": caller.policy_account_id,
                "authenticatedAsAccountId": caller.account_id,
                "authenticatedAsIdentityId": identity.id.removeprefix("1i!") if identity else None,
                "authType": caller.auth_type,
                "clientIp": call.client_ip,
                "created": now_ms(),
                "description": None,
                "eventType": event,
                "requestObject": _text(redact(type_name, request_body)) if understood else None,
                "responseObject": _text(redact(type_name, _decoded(response))),
                "resourceType": type_name,
                "resourceId": row_id if isinstance(row_id, int) else None,
                "responseCode": response.status_code,
                "runtime": milliseconds,
            }
        )
        if not self._gathering:
            self._gathering = True
            task = asyncio.create_task(self._flush_soon(), name="audit-trail")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def flush(self) -> None:
        """Write everything that waits."""
        rows, self._waiting = self._waiting, []
        if not rows:
            return
        await self._store.ensure_ids(TYPE, len(rows))
        changes = self._store.changes()
        for row in rows:
            changes.insert(TYPE, row)
        await self._store.commit(changes)

    async def _flush_soon(self) -> None:
        try:
            await asyncio.sleep(_FLUSH_SECONDS)
            self._gathering = False  # what arrives during the write starts the next one
            await self.flush()
        except (StoreError, SQLAlchemyError, OSError):
            log.exception("audit.write_failed")


def _decoded(response: Response) -> Any:
    body = bytes(response.body) if hasattr(response, "body") else b""
    if not body or not response.headers.get("content-type", "").startswith("application/json"):
        return None
    decoded = msgspec.json.decode(body)
    if not isinstance(decoded, dict):
        return decoded
    return {key: value for key, value in decoded.items() if value is not None and key != "links"}


def _text(value: Any) -> str | None:
    if value in (None, {}):
        return None
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST_BODY else text[:_LONGEST_BODY]


# Redaction


def redact(type_name: str, body: Any) -> Any:
    """The body without secrets: fields declared secret, embedded ones too, and well-known names anywhere."""
    return _redact_embedded(FieldType("embedded", target=type_name), body)


def _redact_embedded(kind: FieldType, value: Any) -> Any:
    if isinstance(value, list):
        inner = kind.of or kind
        return [_redact_embedded(inner, each) for each in value]
    if not isinstance(value, dict):
        return value
    if kind.name == "map" and kind.of is not None:
        return {key: _redact_embedded(kind.of, each) for key, each in value.items() if not _is_secret_name(key)}
    resource = catalog().find(kind.target) if kind.name == "embedded" else None
    fields = resource.fields if resource is not None else {}
    shown: dict[str, Any] = {}
    for key, each in value.items():
        declared = fields.get(key)
        if _is_secret_name(key) or (declared is not None and (declared.secret or declared.type == "password")):
            continue
        if key == _SECRET_FIELDS.get(kind.target):
            continue
        inner = parse_type(declared.type) if declared is not None else FieldType("json")
        shown[key] = _redact_embedded(inner, each)
    return shown


def _is_secret_name(key: str) -> bool:
    return key.lower() in _SECRET_NAMES or (key.endswith("Config") and key not in _PLAIN_CONFIGS)


# Fields named ...Config that describe a workload and hold no credentials.
_PLAIN_CONFIGS = frozenset(
    {"launchConfig", "lbConfig", "logConfig", "rancherCompose", "lbTargetConfig", "dockerComposeConfig"}
)
