"""Templates of environments: the built-in ones belong to nobody, so only administrators change them."""

from __future__ import annotations

from typing import Any

from drover.server.api.call import Call
from drover.server.api.draft import Draft
from drover.server.api.errors import forbidden, invalid
from drover.server.api.extensions import Extensions, Prepared
from drover.server.api.types.names import check_dns_label
from drover.server.store import Record

_LARGEST_FILE = 1024 * 1024  # characters of a Compose file
_MOST_STACKS = 100


def register(extensions: Extensions) -> None:
    extensions.rule("projectTemplate")(check_template)
    extensions.prepares("remove", "projectTemplate")(_before_removal)


async def check_template(draft: Draft) -> None:
    if draft.record is not None:
        _require_owner(draft.call, draft.record)
    entries: list[dict[str, Any]] = draft.values.get("stacks") or []
    if len(entries) > _MOST_STACKS:
        raise invalid("MaxLimitExceeded", "stacks", f"A template has at most {_MOST_STACKS} stacks")
    seen: set[str] = set()
    for entry in entries:
        name = str(entry.get("name") or "")
        check_dns_label(name, "stacks", what="The name of a template's stack")
        if name.lower() in seen:
            raise invalid("NotUnique", "stacks", f"The template has two stacks called {name}")
        seen.add(name.lower())
        _check_entry(name, entry)


def _check_entry(name: str, entry: dict[str, Any]) -> None:
    if not any(entry.get(field) for field in ("templateId", "templateVersionId", "dockerCompose")):
        raise invalid("MissingRequired", "stacks", f"Say what the stack {name} is: give templateId or dockerCompose")
    for field in ("dockerCompose", "rancherCompose"):
        if len(entry.get(field) or "") > _LARGEST_FILE:
            raise invalid("MaxLengthExceeded", field, f"{field} may have at most {_LARGEST_FILE} characters")


async def _before_removal(call: Call, record: Record, given: dict[str, Any]) -> Prepared:
    _require_owner(call, record)
    return Prepared(data=given)


def _require_owner(call: Call, template: Record) -> None:
    caller = call.caller
    if not caller.all_accounts and template.account_id not in (caller.account_id, caller.policy_account_id):
        raise forbidden("Built-in templates are changed by administrators only; make a copy with another name")
