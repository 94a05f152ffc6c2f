"""What the outside reports, and who handles processes outside of the server."""

from __future__ import annotations

from drover.server.resources.access import ADMINS_READ, admins, allow, by_admins, by_workers, hide
from drover.server.resources.declare import (
    MEDIUM_TEXT,
    ONLY_EQUAL,
    SMALL_DATA,
    choice,
    date,
    flag,
    kind,
    number,
    ref,
    resource,
    standard,
    state,
    text,
    typed,
    words,
)

CONTAINER_EVENT = resource(
    "containerEvent",
    columns={
        "accountId": ref("account", "r"),
        "created": date("r"),
        "externalFrom": text("r"),
        "externalId": text("r"),
        "externalStatus": text("r"),
        "externalTimestamp": number("r"),
        "hostId": ref("host", "r"),
        "id": number("r", max_length=None),
        "kind": text("r"),
        "reportedHostUuid": text("r"),
        "state": state("r"),
    },
    fields={
        "data": typed("map[json]", also=ADMINS_READ, nullable=True, max_length=MEDIUM_TEXT),
        "dockerInspect": typed("json", "r"),
    },
    access=by_workers("LR")
    | allow(
        "agent",
        methods="LCR",
        grants={
            "rc": words("data dockerInspect externalFrom externalId externalStatus externalTimestamp reportedHostUuid"),
            "r": words("id"),
        },
        overrides={"dockerInspect": {"nullable": True}},
    ),
)

EXTERNAL_EVENT = resource(
    "externalEvent",
    columns=standard("description", "name", "removeTime", "removed", data=SMALL_DATA)
    | {
        "eventType": text("r"),
        "externalId": text("r"),
        "reportedAccountId": ref("account", "r"),
    },
    access=by_workers("LR") | allow("agent", grants={"r": words("eventType externalId id")}),
)

EXTERNAL_DNS_EVENT = kind(
    "externalDnsEvent",
    EXTERNAL_EVENT,
    fields={
        "fqdn": text("r"),
        "serviceName": text("r"),
        "stackName": text("r"),
    },
    access=by_workers("LR")
    | allow(
        "agent",
        methods="LCR",
        grants={"rc": words("eventType externalId fqdn serviceName stackName"), "r": words("id")},
    ),
)

EXTERNAL_HOST_EVENT = kind(
    "externalHostEvent",
    EXTERNAL_EVENT,
    fields={
        "deleteHost": flag("rc", nullable=False, default=False),
        "hostId": ref("host", "rc"),
        "hostLabel": text("rc"),
    },
    nullable=True,
    letters={"rc": words("eventType")},
    access=by_workers("LCR")
    | allow("agent", methods="LCR", grants={"rc": words("eventType externalId"), "r": words("id")}),
)

EXTERNAL_SERVICE_EVENT = kind(
    "externalServiceEvent",
    EXTERNAL_EVENT,
    fields={
        "environment": typed("json", "r"),
        "service": typed("json", "r", required=True),
    },
    access=by_workers("LR")
    | allow("agent", methods="LCR", grants={"rc": words("environment eventType externalId service"), "r": words("id")}),
)

EXTERNAL_STORAGE_POOL_EVENT = kind(
    "externalStoragePoolEvent",
    EXTERNAL_EVENT,
    fields={
        "hostUuids": typed("array[string]", "r"),
        "storagePool": typed("storagePool", "r", required=True),
    },
    access=by_workers("LR")
    | allow(
        "agent", methods="LCR", grants={"rc": words("eventType externalId hostUuids storagePool"), "r": words("id")}
    ),
)

EXTERNAL_VOLUME_EVENT = kind(
    "externalVolumeEvent",
    EXTERNAL_EVENT,
    fields={
        "volume": typed("volume", "r", required=True),
    },
    access=by_workers("LR")
    | allow("agent", methods="LCR", grants={"rc": words("eventType externalId volume"), "r": words("id")}),
)

EXTERNAL_HANDLER = resource(
    "externalHandler",
    columns=standard("accountId")
    | {
        "priority": number("rcu"),
    },
    fields={
        "priorityName": choice("pre specific default_override", default="specific"),
        "processConfigs": typed("array[externalHandlerProcessConfig]", "rc", required=True, in_lists=False),
        "retries": number("rcu", nullable=True, min=1),
        "timeoutMillis": number("rcu", nullable=True, min=1000),
    },
    access=by_admins("LCRU"),
)

EXTERNAL_HANDLER_PROCESS = resource(
    "externalHandlerProcess",
    columns=standard("accountId"),
    access=by_admins("LR"),
)

EXTERNAL_HANDLER_PROCESS_CONFIG = resource(
    "externalHandlerProcessConfig",
    fields={
        "name": text("rc"),
        "onError": text("rc"),
    },
    access=by_admins("CR", "R"),
)

EXTERNAL_HANDLER_EXTERNAL_HANDLER_PROCESS_MAP = resource(
    "externalHandlerExternalHandlerProcessMap",
    columns=standard("accountId")
    | {
        "eventName": text("r"),
        "externalHandlerId": ref("externalHandler", "r"),
        "externalHandlerProcessId": ref("externalHandlerProcess", "r"),
        "onError": text("r"),
    },
    access=by_admins("LR"),
)

PUBLISH = resource(
    "publish",
    fields={
        "data": typed("map[json]", "rc", nullable=True),
        "id": text("rc"),
        "name": text("rc", required=True),
        "previousIds": typed("array[string]", "rc"),
        "publisher": text("rc"),
        "resourceId": text("rc", nullable=True),
        "resourceType": text("rc", nullable=True),
        "time": number("rc", nullable=True),
        "transitioning": text("rc"),
        "transitioningInternalMessage": text("rc"),
        "transitioningMessage": text("rc"),
        "transitioningProgress": number("rc", nullable=True),
    },
    access=by_admins("CR", "R")
    | allow(
        "agent",
        methods="CR",
        grants={
            "rc": words(
                "data id name previousIds publisher resourceId resourceType time transitioning "
                "transitioningInternalMessage transitioningMessage transitioningProgress"
            )
        },
        overrides={"transitioningInternalMessage": {"nullable": True}, "transitioningMessage": {"nullable": True}},
    ),
)

SUBSCRIBE = resource(
    "subscribe",
    columns={
        "eventNames": typed(
            "array[string]",
            "rc",
            nullable=False,
            min_length=1,
            max_length=None,
            valid_chars="*._0-9a-zA-Z;=",
            filters=ONLY_EQUAL,
        ),
    },
    fields={
        "agentId": ref("agent", also=admins("rc")),
    },
    nullable=True,
    access=hide(by_workers("LCR"), "user", "admin", "readAdmin")
    | allow("agent", methods="LCR", grants={"rc": words("agentId eventNames")}),
    stored=False,
)

TYPES = (
    CONTAINER_EVENT,
    EXTERNAL_EVENT,
    EXTERNAL_DNS_EVENT,
    EXTERNAL_HOST_EVENT,
    EXTERNAL_SERVICE_EVENT,
    EXTERNAL_STORAGE_POOL_EVENT,
    EXTERNAL_VOLUME_EVENT,
    EXTERNAL_HANDLER,
    EXTERNAL_HANDLER_PROCESS,
    EXTERNAL_HANDLER_PROCESS_CONFIG,
    EXTERNAL_HANDLER_EXTERNAL_HANDLER_PROCESS_MAP,
    PUBLISH,
    SUBSCRIBE,
)
