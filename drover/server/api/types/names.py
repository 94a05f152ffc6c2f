"""Names that become DNS labels, and who else has them."""

from __future__ import annotations

import re

from drover.server.api.draft import Draft
from drover.server.api.errors import ApiError, invalid

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\Z")
_ALIAS_CHARACTERS = re.compile(r"[A-Za-z0-9_.-]+\Z")


def check_dns_label(name: str, field_name: str = "name", *, what: str = "A name") -> None:
    if len(name) > 63:
        raise invalid("MaxLengthExceeded", field_name, f"{what} may have at most 63 characters", detail=name[:80])
    if not _LABEL.match(name) or "--" in name:
        raise invalid(
            "InvalidCharacters",
            field_name,
            f"{what} consists of letters, digits and single hyphens, and begins and ends with a letter or digit",
            detail=name[:80],
        )


def check_alias(alias: str, field_name: str = "name") -> None:
    """The name of a link: labels of at most 63 characters, joined by single dots."""
    labels = alias.split(".")
    wrong = (
        len(alias) > 253
        or not _ALIAS_CHARACTERS.match(alias)
        or "--" in alias
        or any(not 1 <= len(label) <= 63 or label[0] == "-" or label[-1] == "-" for label in labels)
    )
    if wrong:
        raise invalid(
            "InvalidCharacters", field_name, "A link name is a DNS name such as db or db.shop", detail=alias[:80]
        )


async def check_name_free(draft: Draft, **scope: object) -> None:
    """No other living row of the type has the name within the scope."""
    name = draft.get("name")
    if not name or not (draft.creating or draft.changes("name")):
        return
    for other in await draft.call.store.find_by(draft.base_type, name=name, removed=None, **scope):
        if draft.record is None or other.id != draft.record.id:
            raise name_taken(draft, str(name))


def name_taken(draft: Draft, name: str) -> ApiError:
    return invalid("NotUnique", "name", f"There is already a {draft.schema.id} called {name}; choose another name")
