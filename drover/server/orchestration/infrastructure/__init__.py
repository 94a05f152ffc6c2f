"""Infrastructure stacks: what an environment runs for itself, such as its network, and the templates they come from."""

from __future__ import annotations

from drover.server.lifecycle import Handlers
from drover.server.orchestration.context import Context
from drover.server.orchestration.infrastructure.installer import Installer
from drover.server.orchestration.infrastructure.project_templates import default_template, seed_templates
from drover.server.orchestration.infrastructure.upgrades import Upgrades
from drover.server.orchestration.seed import ProjectSeed
from drover.server.store import Changes, Record


class Infrastructure:
    """Equips environments and upgrades them. Run it for as long as the server lives."""

    def __init__(self, context: Context) -> None:
        self._installer = Installer(context)
        self._upgrades = Upgrades(context)

    async def run(self) -> None:
        await self._upgrades.begin()
        await self._installer.run()


async def first_environment(context: Context) -> ProjectSeed:
    """Make the built-in templates known; returns what gives the first environment the one that the settings name.

    It is planned with the environment itself: one that exists already never gets a network because of a new default.
    """
    await seed_templates(context)
    template = await default_template(context)

    def plan(changes: Changes, project: Record) -> None:
        if template is not None:
            changes.update(project, {"projectTemplateId": template.id})

    return plan


def assemble(context: Context, handlers: Handlers) -> Infrastructure:
    Upgrades(context).register(handlers)
    return Infrastructure(context)
