"""Changing what runs: upgrade strategies, restarts, scheduled upgrades."""

from __future__ import annotations

from drover.server.resources.access import by_workers
from drover.server.resources.declare import date, flag, kind, number, ref, resource, standard, typed

SERVICE_UPGRADE = resource(
    "serviceUpgrade",
    fields={
        "inServiceStrategy": typed("inServiceUpgradeStrategy", "rc"),
        "strategy": typed("serviceUpgradeStrategy", nullable=False),
        "toServiceStrategy": typed("toServiceUpgradeStrategy", "rc"),
    },
    nullable=True,
    access=by_workers("CR", "R"),
)

SERVICE_UPGRADE_STRATEGY = resource(
    "serviceUpgradeStrategy",
    fields={
        "batchSize": number("rc", default=1, min=1),
        "intervalMillis": number("rc", default=2000, min=100),
    },
    nullable=True,
    access=by_workers("R", "R"),
)

IN_SERVICE_UPGRADE_STRATEGY = kind(
    "inServiceUpgradeStrategy",
    SERVICE_UPGRADE_STRATEGY,
    fields={
        "fullUpgrade": flag(),
        "launchConfig": typed("launchConfig", "rc", nullable=True),
        "previousLaunchConfig": typed("launchConfig", "r", nullable=True),
        "previousSecondaryLaunchConfigs": typed("array[secondaryLaunchConfig]", "r"),
        "secondaryLaunchConfigs": typed("array[secondaryLaunchConfig]", "rc"),
        "startFirst": flag("rc", default=False),
    },
    access=by_workers("CR", "R"),
)

ROLLING_RESTART_STRATEGY = kind(
    "rollingRestartStrategy",
    SERVICE_UPGRADE_STRATEGY,
    fields={
        "instanceToStartCount": typed("map[int]"),
    },
    access=by_workers("CR", "R"),
)

TO_SERVICE_UPGRADE_STRATEGY = kind(
    "toServiceUpgradeStrategy",
    SERVICE_UPGRADE_STRATEGY,
    fields={
        "finalScale": number("rc", nullable=True, default=1, min=1),
        "toServiceId": ref("service", "rc"),
        "updateLinks": flag("rc"),
    },
    access=by_workers("CR", "R"),
)

SERVICE_RESTART = resource(
    "serviceRestart",
    fields={
        "rollingRestartStrategy": typed("rollingRestartStrategy", "rc", required=True),
    },
    access=by_workers("CR", "R"),
)

SCHEDULED_UPGRADE = resource(
    "scheduledUpgrade",
    columns=standard("description", "name")
    | {
        "finished": date(),
        "priority": number(nullable=False),
        "runAfter": date(),
        "stackId": ref("stack", "r"),
        "started": date("r"),
    },
    access=by_workers("LR"),
)

TYPES = (
    SERVICE_UPGRADE,
    SERVICE_UPGRADE_STRATEGY,
    IN_SERVICE_UPGRADE_STRATEGY,
    ROLLING_RESTART_STRATEGY,
    TO_SERVICE_UPGRADE_STRATEGY,
    SERVICE_RESTART,
    SCHEDULED_UPGRADE,
)
