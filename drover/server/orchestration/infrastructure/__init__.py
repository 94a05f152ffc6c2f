"""Infrastructure stacks: what an environment runs for itself, such as its network, and the templates they come from."""

from __future__ import annotations

from drover.server.lifecycle import Handlers
from drover.server.orchestration.context import Context
from drover.server.orchestration.infrastructure.installer import Installer
from drover.server.orchestration.infrastructure.project_templates import default_template, seed_templates
from drover.server.orchestration.infrastructure.upgrades import Upgrades
from drover.server.orchestration.seed import DEFAULT_PROJECT_UUID


class Infrastructure:
    """Equips environments and upgrades them. Run it for as long as the server lives."""

    def __init__(self, context: Context) -> None:
        self._installer = Installer(context)
        self._upgrades = Upgrades(context)

    async def run(self) -> None:
        await self._upgrades.begin()
        await self._installer.run()


async def prepare_infrastructure(context: Context, handlers: Handlers, *, first_start: bool) -> Infrastructure:
    """Make the built-in templates known, and give the first environment the one that the settings name."""
    Upgrades(context).register(handlers)
    await seed_templates(context)
    if first_start:
        await _equip_first_environment(context)
    return Infrastructure(context)


async def _equip_first_environment(context: Context) -> None:
    template = await default_template(context)
    project = await context.store.first("account", uuid=DEFAULT_PROJECT_UUID)
    if template is None or project is None:
        return
    changes = context.store.changes()
    changes.update(project, {"projectTemplateId": template.id})
    await context.store.commit(changes)
