"""Health checks and who runs them."""

from __future__ import annotations

from drover.server.resources.access import allow, by_everyone, by_workers
from drover.server.resources.declare import choice, number, ref, resource, standard, text, typed, words

INSTANCE_HEALTH_CHECK = resource(
    "instanceHealthCheck",
    fields={
        "healthyThreshold": number("rc"),
        "initializingTimeout": number("rc"),
        "interval": number("rc"),
        "name": text("rcu"),
        "port": number("rc", required=True, min=1, max=65535),
        "recreateOnQuorumStrategyConfig": typed("recreateOnQuorumStrategyConfig", "rc"),
        "reinitializingTimeout": number("rc"),
        "requestLine": text("rc"),
        "responseTimeout": number("rc"),
        "strategy": choice("none recreate recreateOnQuorum", "rc", default="recreate"),
        "unhealthyThreshold": number("rc"),
    },
    nullable=True,
    access=by_everyone("CR", "R"),
)

RECREATE_ON_QUORUM_STRATEGY_CONFIG = resource(
    "recreateOnQuorumStrategyConfig",
    fields={
        "quorum": number("rc", required=True),
    },
    nullable=True,
    access=by_workers("CR", "R"),
)

HEALTHCHECK_INSTANCE = resource(
    "healthcheckInstance",
    columns=standard()
    | {
        "instanceId": ref("instance"),
    },
)

HEALTHCHECK_INSTANCE_HOST_MAP = resource(
    "healthcheckInstanceHostMap",
    columns=standard()
    | {
        "externalTimestamp": number(),
        "healthState": text("r", max_length=128),
        "healthcheckInstanceId": ref("healthcheckInstance"),
        "hostId": ref("host", "r"),
        "instanceId": ref("instance", "r"),
    },
    access=by_workers("LR"),
)

SERVICE_EVENT = resource(
    "serviceEvent",
    columns=standard()
    | {
        "externalTimestamp": number("r"),
        "healthcheckInstanceId": ref("healthcheckInstance"),
        "healthcheckUuid": text("r"),
        "hostId": ref("host", "r"),
        "instanceId": ref("instance", "r"),
        "reportedHealth": text("r"),
    },
    access=by_workers("LR")
    | allow(
        "agent",
        methods="LCR",
        grants={"rc": words("externalTimestamp healthcheckUuid reportedHealth"), "r": words("id")},
        overrides={"externalTimestamp": {"required": True, "nullable": False}},
    ),
)

TYPES = (
    INSTANCE_HEALTH_CHECK,
    RECREATE_ON_QUORUM_STRATEGY_CONFIG,
    HEALTHCHECK_INSTANCE,
    HEALTHCHECK_INSTANCE_HOST_MAP,
    SERVICE_EVENT,
)
