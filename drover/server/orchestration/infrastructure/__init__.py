"""Infrastructure stacks: what an environment runs for itself, such as its network, and the templates they come from."""

from __future__ import annotations

from drover.server.orchestration.context import Context
from drover.server.orchestration.infrastructure.installer import Installer
from drover.server.orchestration.infrastructure.project_templates import default_template, seed_templates
from drover.server.orchestration.seed import DEFAULT_PROJECT_UUID


async def prepare_infrastructure(context: Context, *, first_start: bool) -> Installer:
    """Make the built-in templates known, and give the first environment the one that the settings name.

    Run the returned part for as long as the server lives.
    """
    await seed_templates(context)
    if first_start:
        await _equip_first_environment(context)
    return Installer(context)


async def _equip_first_environment(context: Context) -> None:
    template = await default_template(context)
    project = await context.store.first("account", uuid=DEFAULT_PROJECT_UUID)
    if template is None or project is None:
        return
    changes = context.store.changes()
    changes.update(project, {"projectTemplateId": template.id})
    await context.store.commit(changes)
