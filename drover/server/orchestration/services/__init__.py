"""Services and stacks: what shall run, the loop that makes it so, and how well it stands.

``spec`` reads a service, ``digest`` knows what exists of it, ``planner`` compares the two, ``steps`` commits the
difference, ``reconciler`` does so whenever something changed; ``handlers``, ``upgrade`` and ``stacks`` are the
processes that a user starts; ``health`` adds up how everything stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from drover.server.lifecycle import Handlers
from drover.server.orchestration.context import Context
from drover.server.orchestration.services.handlers import Companion, ServiceHandlers
from drover.server.orchestration.services.health_keeper import HealthKeeper
from drover.server.orchestration.services.membership import Membership
from drover.server.orchestration.services.reconciler import Reconciler
from drover.server.orchestration.services.stacks import Deployer, StackHandlers
from drover.server.orchestration.services.upgrade import UpgradeHandlers


@dataclass(frozen=True, slots=True)
class Services:
    """The running parts of this room: await ``run`` of each in a task of its own."""

    reconciler: Reconciler
    health: HealthKeeper
    membership: Membership


def build(
    context: Context, handlers: Handlers, deployer: Deployer, companions: Mapping[str, Companion] | None = None
) -> Services:
    """Register the handlers of services and stacks; ``companions`` go along with services of their kind."""
    reconciler = Reconciler(context)
    ServiceHandlers(context, reconciler, companions).register(handlers)
    UpgradeHandlers(context, reconciler).register(handlers)
    StackHandlers(context, deployer).register(handlers)
    return Services(reconciler, HealthKeeper(context, reconciler), Membership(context))
