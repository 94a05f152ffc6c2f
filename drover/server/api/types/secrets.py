"""Secrets and certificates of an environment: write-only, encrypted at rest."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from drover.server.api import writing
from drover.server.api.auth.access import AccessControl
from drover.server.api.call import Call
from drover.server.api.draft import Draft
from drover.server.api.errors import ApiError, invalid
from drover.server.api.extensions import Extensions, Prepared
from drover.server.api.ids import parse_id
from drover.server.api.scope import load_visible
from drover.server.api.types.certificate_facts import CertificateError, read_certificate
from drover.server.orchestration.credentials import certificate_key, seal_certificate_key, seal_secret
from drover.server.resources import Schema
from drover.server.store import Record, Store

_BALANCER_ROLES = frozenset({"projectadmin"})


def install(extensions: Extensions, access: AccessControl) -> None:
    secrets = Secrets(access)
    extensions.rule("secret")(secrets.judge_secret)
    extensions.computes("secret")(_blank_value)
    extensions.rule("certificate")(secrets.judge_certificate)
    extensions.computes("certificate")(secrets.show_key)
    extensions.removes("certificate")(secrets.remove_certificate)
    extensions.prepares("remove", "certificate")(secrets.before_removal)


class Secrets:
    """The types ``secret`` and ``certificate``."""

    def __init__(self, access: AccessControl) -> None:
        self._vault = access.vault
        self._store = access.context.store

    async def judge_secret(self, draft: Draft) -> None:
        if not draft.creating:
            draft.values.pop("value", None)
            return
        value = draft.values.get("value")
        if not value:
            raise invalid("EmptySecret", "value", "Secret value cannot be null or empty")
        try:
            content = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise invalid("InvalidBase64", "value", "The value of a secret must be encoded as base64") from None
        if not content:
            raise invalid("EmptySecret", "value", "Secret value cannot be null or empty")
        draft.values["value"] = seal_secret(value, self._vault)

    async def judge_certificate(self, draft: Draft) -> None:
        """The facts of a certificate are read from it whenever it changes; its key must be its key."""
        for name in ("key", "cert"):
            if name in draft.values and not draft.values[name]:
                del draft.values[name]
        if not draft.creating and not {"key", "cert"} & draft.values.keys():
            return
        key = draft.values.get("key") or self._stored_key(draft.record)
        try:
            facts = read_certificate(str(draft.get("cert") or ""), key)
        except CertificateError as error:
            raise invalid("InvalidFormat", error.field_name, str(error)) from error
        draft.values.update(facts)
        if draft.values.get("key"):
            draft.values["key"] = seal_certificate_key(key, self._vault)

    def _stored_key(self, record: Record | None) -> str:
        return certificate_key(record, self._vault) if record is not None and record["key"] else ""

    async def show_key(self, call: Call, records: Sequence[Record]) -> Mapping[int, Mapping[str, Any]]:
        """Only balancers that act for the environment read keys; everybody else wrote them and has them."""
        if call.caller.role in _BALANCER_ROLES:
            return {record.id: {"key": self._stored_key(record)} for record in records}
        return {record.id: {"key": None} for record in records}

    async def remove_certificate(self, call: Call, schema: Schema, text: str) -> Record | None:
        row_id = parse_id(text, plain=call.plain_ids)
        found = await load_visible(call, "certificate", [row_id]) if isinstance(row_id, int) else {}
        for record in found.values():
            await self.before_removal(call, record, {})
            return await writing.remove(call, record)
        raise ApiError(404, None, f"There is no certificate {text!r}, or you may not see it")

    async def before_removal(self, call: Call, record: Record, values: Mapping[str, Any]) -> Prepared:
        users = await _users_of_certificate(self._store, record)
        if users:
            names = ", ".join(sorted(users))
            raise ApiError(405, "InvalidAction", f"Certificate is in use by load balancer services: {names}")
        return Prepared()


async def _users_of_certificate(store: Store, certificate: Record) -> list[str]:
    services = await store.find_by(
        "service", accountId=certificate.account_id, kind="loadBalancerService", removed=None
    )
    users = []
    for service in services:
        config = service["lbConfig"] if isinstance(service["lbConfig"], dict) else {}
        used = {config.get("defaultCertificateId"), *(config.get("certificateIds") or [])}
        if certificate.id in used:
            users.append(service.name or f"1s{service.id}")
    return users


async def _blank_value(call: Call, records: Sequence[Record]) -> Mapping[int, Mapping[str, Any]]:
    return {record.id: {"value": None} for record in records}
