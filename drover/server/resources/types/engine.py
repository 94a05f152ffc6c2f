"""The engine at work: processes, tasks, configuration items; what an administrator watches."""

from __future__ import annotations

from drover.server.resources.access import allow, by_admins, by_nobody, by_workers
from drover.server.resources.declare import (
    MEDIUM_TEXT,
    SEARCHABLE,
    choice,
    date,
    flag,
    number,
    ref,
    resource,
    text,
    typed,
    words,
)
from drover.server.resources.model import Action

PROCESS_DEFINITION = resource(
    "processDefinition",
    fields={
        "extensionBased": flag("r"),
        "id": text("r"),
        "name": text("rcu"),
        "postProcessListeners": typed("extensionPoint", "r"),
        "preProcessListeners": typed("extensionPoint", "r"),
        "processHandlers": typed("extensionPoint", "r"),
        "resourceType": text("r"),
        "stateTransitions": typed("array[stateTransition]", "r"),
    },
    access=by_admins("LR"),
)

PROCESS_INSTANCE = resource(
    "processInstance",
    columns={
        "accountId": ref("account", "r"),
        "endTime": date("r"),
        "executionCount": number("r", nullable=False),
        "exitReason": text("r", max_length=128),
        "id": number("r", max_length=None),
        "phase": text("r", max_length=128),
        "priority": number("r"),
        "processName": text("r", max_length=128),
        "resourceId": text("r", max_length=128),
        "resourceType": text("r", max_length=128),
        "result": text("r", max_length=128),
        "runAfter": date("r"),
        "runningProcessServerId": text("r", max_length=128),
        "startProcessServerId": text("r", max_length=128),
        "startTime": date("r"),
    },
    fields={
        "data": typed("map[json]", "r", max_length=MEDIUM_TEXT),
    },
    nullable=True,
    actions={
        "replay": Action(output="processInstance"),
    },
    access=by_admins("LR"),
)

PROCESS_EXECUTION = resource(
    "processExecution",
    columns={
        "created": date("r"),
        "id": number("r", max_length=None),
        "processInstanceId": ref("processInstance", "r", nullable=False),
        "uuid": text("r", max_length=128),
    },
    fields={
        "log": typed("map[json]", "r", max_length=MEDIUM_TEXT),
    },
    nullable=True,
    access=by_admins("LR"),
)

PROCESS_POOL = resource(
    "processPool",
    fields={
        "activeTasks": number("r"),
        "completedTasks": number("r"),
        "maxPoolSize": number("r"),
        "minPoolSize": number("r"),
        "name": text("r"),
        "poolSize": number("r"),
        "queueRemainingCapacity": number("r"),
        "queueSize": number("r"),
        "rejectedTasks": number("r"),
    },
    access=by_admins("LR"),
)

PROCESS_SUMMARY = resource(
    "processSummary",
    fields={
        "delay": number("r"),
        "processName": text("r"),
        "ready": number("r"),
        "running": number("r"),
    },
    access=by_admins("LR"),
)

STATE_TRANSITION = resource(
    "stateTransition",
    fields={
        "field": text(),
        "fromState": text(),
        "toState": text(),
        "type": choice("TRANSITIONING DONE"),
    },
    access=by_admins("R", "R"),
)

RESOURCE_DEFINITION = resource(
    "resourceDefinition",
    fields={
        "id": text("r"),
        "name": text("r"),
    },
    access=by_admins("LR"),
)

EXTENSION_POINT = resource(
    "extensionPoint",
    fields={
        "excludeSetting": text("r"),
        "implementations": typed("array[extensionImplementation]", "r"),
        "includeSetting": text("r"),
        "listSetting": text("r"),
        "name": text("rcu"),
    },
    access=by_admins("LR"),
)

EXTENSION_IMPLEMENTATION = resource(
    "extensionImplementation",
    fields={
        "className": text("r"),
        "name": text("r"),
        "properties": typed("map[string]", "r"),
    },
    access=by_admins("R", "R"),
)

TASK = resource(
    "task",
    columns={
        "id": number("r", max_length=None),
        "name": text("rcu", max_length=128),
    },
    actions={
        "execute": Action(output="task"),
    },
    access=by_admins("LR"),
)

TASK_INSTANCE = resource(
    "taskInstance",
    columns={
        "endTime": date("r"),
        "exception": text("r"),
        "id": number("r", max_length=None),
        "name": text("rcu", max_length=128),
        "serverId": text("r", max_length=128),
        "startTime": date("r", nullable=False),
        "taskId": ref("task", "r", nullable=False),
    },
    access=by_admins("LR"),
)

CONFIG_ITEM = resource(
    "configItem",
    columns={
        "id": number("r", max_length=None),
        "name": text("rcu"),
        "sourceVersion": text("r", max_length=1024),
    },
    access=by_admins("LR"),
)

CONFIG_ITEM_STATUS = resource(
    "configItemStatus",
    columns={
        "accountId": ref("account", "r", max_length=None),
        "agentId": ref("agent", "r", max_length=None),
        "appliedUpdated": date("r", nullable=False, max_length=None),
        "appliedVersion": number("ru", max_length=None),
        "hostId": ref("host", max_length=None),
        "id": number("r", max_length=None),
        "name": text("rcu", nullable=False, max_length=None),
        "requestedUpdated": date("r", nullable=False, max_length=None),
        "requestedVersion": number("r", max_length=None),
        "resourceId": number(max_length=None),
        "resourceType": text(nullable=False, max_length=None),
        "serviceId": ref("service", max_length=None),
        "sourceVersion": text("r", nullable=False, max_length=None),
        "stackId": ref("stack", max_length=None),
    },
    access=by_admins("LRU"),
)

CONFIG_CONTENT = resource(
    "configContent",
    fields={
        "agentId": ref("agent", nullable=True),
        "current": text(),
        "id": text(),
        "version": text(),
    },
    access=by_nobody() | allow("agent", methods="LRU", grants={"ru": words("agentId version")}),
)

CLUSTER_MEMBERSHIP = resource(
    "clusterMembership",
    columns={
        "clustered": flag("r"),
        "config": text("r", max_length=MEDIUM_TEXT),
        "heartbeat": number("r"),
        "id": number("r", max_length=None),
        "name": text("r"),
        "uuid": text("r", max_length=128),
    },
    access=by_admins("LR"),
)

HA_CONFIG = resource(
    "haConfig",
    fields={
        "clusterSize": number("r", nullable=True),
        "dbHost": text("r"),
        "dbSize": number("r", nullable=True),
        "enabled": flag("ru", default=False),
    },
    actions={
        "createscript": Action(input="haConfigInput"),
    },
    access=by_admins("LRU"),
)

HA_CONFIG_INPUT = resource(
    "haConfigInput",
    fields={
        "cert": text("rc", nullable=True),
        "certChain": text("rc", nullable=True),
        "clusterSize": number("rc", default=3, min=1, max=65535),
        "hostRegistrationUrl": text("rc", required=True),
        "httpEnabled": flag("rc", default=True),
        "httpPort": number("rc", nullable=True, default=80, min=1, max=65535),
        "httpsPort": number("rc", default=443, min=1, max=65535),
        "key": text("rc", nullable=True, secret=True),
        "ppHttpPort": number("rc", nullable=True, default=81, min=1, max=65535),
        "ppHttpsPort": number("rc", default=444, min=1, max=65535),
        "redisPort": number("rc", default=6379, min=1, max=65535),
        "swarmEnabled": flag("rc", default=True),
        "swarmPort": number("rc", nullable=True, default=2376, min=1, max=65535),
        "zookeeperClientPort": number("rc", default=2181, min=1, max=65535),
        "zookeeperLeaderPort": number("rc", default=3888, min=1, max=65535),
        "zookeeperQuorumPort": number("rc", default=2888, min=1, max=65535),
    },
    access=by_admins("LCR"),
)

AUDIT_LOG = resource(
    "auditLog",
    columns={
        "accountId": ref("account", "r"),
        "authType": choice(
            "AdminAuth BasicAuth RegistrationToken TokenAccount TokenAuth",
            "r",
            nullable=True,
            required=True,
            filters=SEARCHABLE,
        ),
        "authenticatedAsAccountId": ref("account", "r"),
        "authenticatedAsIdentityId": ref("identity", "r", filters=SEARCHABLE),
        "clientIp": text("r"),
        "created": date("r"),
        "description": text("r", max_length=1024),
        "eventType": text("r"),
        "id": number("r", max_length=None),
        "kind": text("r"),
        "resourceId": number("r"),
        "resourceType": text("r"),
        "runtime": number(),
    },
    fields={
        "data": typed("map[json]", nullable=True, max_length=MEDIUM_TEXT),
        "requestObject": text("r"),
        "resource": text(),
        "responseCode": number("r"),
        "responseObject": text("r"),
    },
    access=by_workers("LR"),
)

TYPES = (
    PROCESS_DEFINITION,
    PROCESS_INSTANCE,
    PROCESS_EXECUTION,
    PROCESS_POOL,
    PROCESS_SUMMARY,
    STATE_TRANSITION,
    RESOURCE_DEFINITION,
    EXTENSION_POINT,
    EXTENSION_IMPLEMENTATION,
    TASK,
    TASK_INSTANCE,
    CONFIG_ITEM,
    CONFIG_ITEM_STATUS,
    CONFIG_CONTENT,
    CLUSTER_MEMBERSHIP,
    HA_CONFIG,
    HA_CONFIG_INPUT,
    AUDIT_LOG,
)
