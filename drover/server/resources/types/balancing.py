"""Load balancing: rules, targets, stickiness."""

from __future__ import annotations

from drover.server.resources.access import by_nobody, by_workers
from drover.server.resources.declare import choice, flag, number, ref, resource, text, typed

LB_CONFIG = resource(
    "lbConfig",
    fields={
        "certificateIds": typed("array[reference[certificate]]", "rc", schedule_update=True),
        "config": text("rc", schedule_update=True),
        "defaultCertificateId": ref("certificate", "rc", schedule_update=True),
        "portRules": typed("array[portRule]", "rc", nullable=False, schedule_update=True),
        "stickinessPolicy": typed("loadBalancerCookieStickinessPolicy", "rc", schedule_update=True),
    },
    nullable=True,
    access=by_workers("CR", "R"),
)

LB_TARGET_CONFIG = resource(
    "lbTargetConfig",
    fields={
        "portRules": typed("array[targetPortRule]", "rcu", schedule_update=True),
    },
    access=by_workers("R", "R"),
)

PORT_RULE = resource(
    "portRule",
    fields={
        "backendName": text("rc"),
        "environment": text("rc"),
        "hostname": text("rc"),
        "path": text("rc"),
        "priority": number("rc", min=1),
        "protocol": choice("http tcp https tls sni udp", "rc", nullable=False, default="http"),
        "region": text("rc"),
        "selector": text("rc"),
        "serviceId": ref("service", "rc"),
        "sourcePort": number("rc", required=True, min=1, max=65535),
        "targetPort": number("rc", min=1, max=65535),
        "weight": number("rc", min=0, max=256),
    },
    nullable=True,
    access=by_workers("CR", "R"),
)

TARGET_PORT_RULE = resource(
    "targetPortRule",
    fields={
        "backendName": text("rc"),
        "hostname": text("rc"),
        "path": text("rc"),
        "targetPort": number("rc", required=True, min=1, max=65535),
    },
    nullable=True,
    access=by_workers("CR", "R"),
)

BALANCER_SERVICE_CONFIG = resource(
    "balancerServiceConfig",
)

BALANCER_TARGET_CONFIG = resource(
    "balancerTargetConfig",
)

LOAD_BALANCER_CONFIG = resource(
    "loadBalancerConfig",
)

LOAD_BALANCER_COOKIE_STICKINESS_POLICY = resource(
    "loadBalancerCookieStickinessPolicy",
    fields={
        "cookie": text("rcu", nullable=False),
        "domain": text("rcu", nullable=False),
        "indirect": flag("rcu"),
        "mode": choice("rewrite insert prefix", "rcu", default="insert"),
        "name": text("rcu"),
        "nocache": flag("rcu"),
        "postonly": flag("rcu"),
    },
    nullable=True,
    access=by_workers("CRU", "R"),
)

HAPROXY_CONFIG = resource(
    "haproxyConfig",
    fields={
        "defaults": text(),
        "global": text(),
    },
    nullable=True,
    access=by_nobody("R"),
)

TYPES = (
    LB_CONFIG,
    LB_TARGET_CONFIG,
    PORT_RULE,
    TARGET_PORT_RULE,
    BALANCER_SERVICE_CONFIG,
    BALANCER_TARGET_CONFIG,
    LOAD_BALANCER_CONFIG,
    LOAD_BALANCER_COOKIE_STICKINESS_POLICY,
    HAPROXY_CONFIG,
)
