"""The built-in environment templates as rows, so that they are listed, named and copied like those of users."""

from __future__ import annotations

import uuid

import structlog

from drover.common.clock import now_ms
from drover.server.orchestration.context import Context
from drover.server.orchestration.infrastructure.library import EnvironmentTemplate, environment_templates
from drover.server.store import ClaimTaken, Record

log = structlog.get_logger(__name__)

_INSTALL_SETTING = "project.template.defaults"
_DEFAULT_SETTING = "project.template.default.name"
_EXECUTE_SETTING = "catalog.execute"


async def seed_templates(context: Context) -> None:
    """Make the rows that are missing, and bring those of an older version of a template up to date.

    What an administrator changes stays until then. With ``project.template.defaults`` = false nothing is installed.
    """
    if not context.settings.bool(_INSTALL_SETTING):
        return
    store = context.store
    rows = await store.find_by("projectTemplate", accountId=None, removed=None)
    known = {_identity(str(row["externalId"] or "")): row for row in rows}
    changes = store.changes()
    for template in environment_templates():
        values = _values(template)
        row = known.get(_identity(template.external_id))
        if row is None:
            row = changes.insert(
                "projectTemplate",
                {
                    "uuid": str(uuid.uuid4()),
                    "kind": "projectTemplate",
                    "state": "active",
                    "created": now_ms(),
                    **values,
                },
            )
            changes.claim(f"project-template:{_identity(template.external_id)}", row)
        elif row["externalId"] != template.external_id:
            changes.update(row, values)
    if changes.empty:
        return
    try:
        await store.commit(changes)
    except ClaimTaken:
        log.info("infrastructure.templates_made_elsewhere")


async def default_template(context: Context) -> Record | None:
    """The template of an environment that names none, or None.

    As in Rancher 1.6 it is the public one that ``project.template.default.name`` names (packaged: Cattle), and
    ``catalog.execute`` switches that on: false as packaged, true in the image of the server. A server outside of an
    image knows no image that hosts could run the stacks from. A name that somebody chose counts for it all the same.
    """
    settings = context.settings
    if not (settings.bool(_EXECUTE_SETTING) or settings.chosen(_DEFAULT_SETTING)):
        return None
    name = settings.get(_DEFAULT_SETTING).strip()
    if not name or name.lower() == "none":
        return None
    rows = await context.store.find_by("projectTemplate", isPublic=True, removed=None)
    found = [row for row in rows if str(row.name).lower() == name.lower()]
    if not found:
        log.warning("infrastructure.no_default_template", wanted=name, known=", ".join(str(row.name) for row in rows))
        return None
    return found[0]


def _identity(external_id: str) -> str:
    """The template without its version."""
    return external_id.rpartition(":")[0]


def _values(template: EnvironmentTemplate) -> dict[str, object]:
    return {
        "name": template.name,
        "description": template.description,
        "externalId": template.external_id,
        "isPublic": True,
        "stacks": [dict(entry) for entry in template.stacks],
    }
