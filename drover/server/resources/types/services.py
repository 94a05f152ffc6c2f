"""Services of every kind, and the rows that tie them to containers and to each other."""

from __future__ import annotations

from drover.server.resources.access import ADMINS_READ, NOBODY, PROJECT_ADMIN, allow, by_everyone, by_workers
from drover.server.resources.declare import (
    SHORT_TEXT,
    SMALL_DATA,
    choice,
    date,
    flag,
    kind,
    number,
    ref,
    resource,
    standard,
    text,
    typed,
    words,
)
from drover.server.resources.model import Action

SERVICE = resource(
    "service",
    columns=standard(
        name=text("rcu", required=True, min_length=1, max_length=63, valid_chars="a-zA-Z0-9-", schedule_update=True)
    )
    | {
        "createIndex": number("r"),
        "externalId": text("rc"),
        "healthState": text("r", max_length=128),
        "selectorContainer": text("rcu", max_length=4096, schedule_update=True),
        "selectorLink": text("rcu", max_length=4096, schedule_update=True),
        "skip": flag(),
        "stackId": ref("stack", "rc"),
        "system": flag("r", default=False),
        "vip": text("rc"),
    },
    fields={
        "assignServiceIpAddress": flag("rc", default=False),
        "currentScale": number("r"),
        "desiredScale": number(),
        "environmentId": ref("environment", also={"superadmin": ""}, required=True),
        "executionCount": number(),
        "executionPeriodStart": date(),
        "fqdn": text("r", nullable=True),
        "instanceIds": typed("array[reference[instance]]", "r", nullable=True),
        "launchConfig": typed("launchConfig", "rc", nullable=True),
        "lbConfig": typed("lbTargetConfig", "rcu", nullable=True, schedule_update=True),
        "linkedServices": typed("map[reference[service]]", "r", nullable=True),
        "lockedScale": number(),
        "metadata": typed("map[json]", "rcu", nullable=True, schedule_update=True),
        "publicEndpoints": typed("array[publicEndpoint]", "rcu", nullable=True),
        "restart": typed("serviceRestart"),
        "retainIp": flag("rcu", nullable=True, schedule_update=True),
        "scale": number("rcu", default=1, min=0, schedule_update=True),
        "scalePolicy": typed("scalePolicy", "rcu", nullable=True, schedule_update=True),
        "secondaryLaunchConfigs": typed("array[secondaryLaunchConfig]", "rc"),
        "serviceIndexStrategy": text(),
        "startOnCreate": flag("rc", nullable=True, default=False),
        "upgrade": typed("serviceUpgrade", "r", nullable=True),
    },
    actions={
        "addservicelink": Action(input="addRemoveServiceLinkInput", output="service"),
        "certificate": Action(roles=PROJECT_ADMIN),
        "removeservicelink": Action(input="addRemoveServiceLinkInput", output="service"),
        "restart": Action(input="serviceRestart"),
        "setservicelinks": Action(input="setServiceLinksInput", output="service"),
        "upgrade": Action(input="serviceUpgrade"),
    },
    access=by_workers("LCRUD"),
)

COMPOSE_SERVICE = kind(
    "composeService",
    SERVICE,
    letters={"": words("assignServiceIpAddress createIndex lbConfig metadata retainIp secondaryLaunchConfigs upgrade")},
    actions={
        "addservicelink": Action(input="addRemoveServiceLinkInput", roles=NOBODY),
        "deactivate": Action(roles=NOBODY),
        "removeservicelink": Action(input="addRemoveServiceLinkInput", roles=NOBODY),
        "restart": Action(input="serviceRestart", roles=NOBODY),
        "setservicelinks": Action(input="setServiceLinksInput", roles=NOBODY),
        "update": Action(roles=NOBODY),
        "upgrade": Action(input="serviceUpgrade", roles=NOBODY),
    },
    access=by_workers("LRD"),
)

DNS_SERVICE = kind(
    "dnsService",
    SERVICE,
    fields={
        "dns": typed("array[string]"),
    },
    letters={
        "": words(
            "createIndex currentScale lbConfig publicEndpoints scale scalePolicy "
            "secondaryLaunchConfigs selectorContainer vip"
        )
    },
)

EXTERNAL_SERVICE = kind(
    "externalService",
    SERVICE,
    fields={
        "externalIpAddresses": typed("array[string]", "rcu", schedule_update=True),
        "healthCheck": typed("instanceHealthCheck", "rc"),
        "hostname": text("rcu", schedule_update=True),
    },
    nullable=True,
    letters={
        "": words(
            "assignServiceIpAddress createIndex currentScale lbConfig publicEndpoints retainIp "
            "scale scalePolicy secondaryLaunchConfigs selectorContainer selectorLink vip"
        )
    },
    actions={
        "addservicelink": Action(input="addRemoveServiceLinkInput", roles=NOBODY),
        "removeservicelink": Action(input="addRemoveServiceLinkInput", roles=NOBODY),
        "setservicelinks": Action(input="setServiceLinksInput", roles=NOBODY),
    },
)

KUBERNETES_SERVICE = kind(
    "kubernetesService",
    SERVICE,
    fields={
        "template": typed("json", "r"),
    },
    letters={
        "": words(
            "assignServiceIpAddress createIndex currentScale fqdn launchConfig lbConfig metadata "
            "publicEndpoints retainIp scale scalePolicy secondaryLaunchConfigs selectorLink "
            "startOnCreate upgrade"
        ),
        "r": words("selectorContainer vip"),
    },
    access=by_workers("LR"),
)

LOAD_BALANCER_SERVICE = kind(
    "loadBalancerService",
    SERVICE,
    fields={
        "launchConfig": typed("launchConfig", "rcu", required=True, schedule_update=True),
        "lbConfig": typed("lbConfig", "rcu", required=True, schedule_update=True),
    },
    nullable=True,
    letters={"": words("createIndex secondaryLaunchConfigs selectorContainer")},
)

NETWORK_DRIVER_SERVICE = kind(
    "networkDriverService",
    SERVICE,
    fields={
        "networkDriver": typed("networkDriver", "rcu", required=True, schedule_update=True),
    },
)

STORAGE_DRIVER_SERVICE = kind(
    "storageDriverService",
    SERVICE,
    fields={
        "storageDriver": typed("storageDriver", "rcu", required=True, schedule_update=True),
    },
)

SERVICE_CONSUME_MAP = resource(
    "serviceConsumeMap",
    columns=standard(name=text("r"))
    | {
        "consumedService": text("r"),
        "consumedServiceId": ref("service", "r"),
        "serviceId": ref("service", "r"),
    },
    fields={
        "ports": typed("array[string]", "r", required=True),
    },
    nullable=True,
    access=by_workers("LR"),
)

SERVICE_EXPOSE_MAP = resource(
    "serviceExposeMap",
    columns=standard()
    | {
        "dnsPrefix": text(max_length=128),
        "hostName": text(),
        "instanceId": ref("instance", "r"),
        "ipAddress": text("r"),
        "managed": flag("r"),
        "serviceId": ref("service", "r"),
        "upgrade": flag(),
    },
    access=by_workers("LR"),
)

SERVICE_INDEX = resource(
    "serviceIndex",
    columns=standard(data=SMALL_DATA)
    | {
        "address": text(),
        "launchConfigName": text(),
        "serviceId": ref("service"),
        "serviceIndex": text(),
    },
)

SERVICE_LOG = resource(
    "serviceLog",
    columns={
        "accountId": ref("account", "r"),
        "created": date("r"),
        "description": text("rcu", max_length=1024),
        "endTime": date("r"),
        "eventType": text("r"),
        "id": number("r", max_length=None),
        "instanceId": ref("instance", "r"),
        "kind": text("r"),
        "level": text("r"),
        "serviceId": ref("service", "r"),
        "subLog": flag("r"),
        "transactionId": text("r"),
    },
    fields={
        "data": typed("map[json]", also=ADMINS_READ, max_length=SHORT_TEXT),
    },
    nullable=True,
    access=by_workers("LR"),
)

SERVICE_PROXY = resource(
    "serviceProxy",
    fields={
        "port": number("rc", nullable=True, default=80, min=0),
        "scheme": choice("http https", "rc", default="http"),
        "service": text("rc", required=True, min_length=1),
        "token": text("r"),
        "url": text("r"),
    },
    access=by_workers("LCR"),
)

SERVICE_BINDING = resource(
    "serviceBinding",
    fields={
        "labels": typed("map[string]", "rc"),
        "ports": typed("array[string]", "rc"),
    },
    access=by_workers("CRU", "R"),
)

BINDING = resource(
    "binding",
    fields={
        "services": typed("map[serviceBinding]", "rc"),
    },
    access=by_workers("CRU", "R"),
)

PUBLIC_ENDPOINT = resource(
    "publicEndpoint",
    fields={
        "hostId": ref("host", "rc"),
        "instanceId": ref("instance", "rc"),
        "ipAddress": text("rc"),
        "port": number("rc", nullable=True),
        "serviceId": ref("service", "rc"),
    },
    access=by_workers("R", "R") | allow("user", "admin", methods="CR"),
)

ADD_REMOVE_SERVICE_LINK_INPUT = resource(
    "addRemoveServiceLinkInput",
    fields={
        "serviceLink": typed("serviceLink", "rc", required=True),
    },
    access=by_workers("CR", "R"),
)

SET_SERVICE_LINKS_INPUT = resource(
    "setServiceLinksInput",
    fields={
        "serviceLinks": typed("array[serviceLink]", "rc"),
    },
    nullable=True,
    access=by_workers("CR", "R"),
)

SERVICE_LINK = resource(
    "serviceLink",
    fields={
        "consumingServiceId": number(),
        "name": text("rc", nullable=True, valid_chars="a-zA-Z0-9-._"),
        "service": text("rc"),
        "serviceId": ref("service", "rc"),
        "uuid": text("r"),
    },
    access=by_everyone("CR", "R"),
)

SCALE_POLICY = resource(
    "scalePolicy",
    fields={
        "increment": number("rc", default=1, min=1),
        "max": number("rc", default=1, min=1),
        "min": number("rc", required=True, default=1, min=1),
    },
    nullable=True,
    access=by_workers("R", "R"),
)

TYPES = (
    SERVICE,
    COMPOSE_SERVICE,
    DNS_SERVICE,
    EXTERNAL_SERVICE,
    KUBERNETES_SERVICE,
    LOAD_BALANCER_SERVICE,
    NETWORK_DRIVER_SERVICE,
    STORAGE_DRIVER_SERVICE,
    SERVICE_CONSUME_MAP,
    SERVICE_EXPOSE_MAP,
    SERVICE_INDEX,
    SERVICE_LOG,
    SERVICE_PROXY,
    SERVICE_BINDING,
    BINDING,
    PUBLIC_ENDPOINT,
    ADD_REMOVE_SERVICE_LINK_INPUT,
    SET_SERVICE_LINKS_INPUT,
    SERVICE_LINK,
    SCALE_POLICY,
)
