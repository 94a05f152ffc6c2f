"""Hosts and the agents on them."""

from __future__ import annotations

from drover.server.resources.access import ADMINS_READ, admins, allow, by_admins, by_workers
from drover.server.resources.declare import (
    MEDIUM_TEXT,
    date,
    flag,
    number,
    ref,
    resource,
    standard,
    state,
    text,
    typed,
    words,
)
from drover.server.resources.model import Action

HOST = resource(
    "host",
    columns=standard()
    | {
        "agentId": ref("agent", also=ADMINS_READ),
        "agentState": text("r", max_length=128),
        "computeFree": number(),
        "computeTotal": number("r"),
        "hostTemplateId": ref("hostTemplate", "rc"),
        "isPublic": flag(),
        "localStorageMb": number("rcu", schedule_update=True),
        "memory": number("rcu", schedule_update=True),
        "milliCpu": number("rcu", schedule_update=True),
        "physicalHostId": ref("physicalHost", "r"),
        "removeAfter": date(),
        "stackId": ref("stack", "rc"),
        "uri": text(),
        "zoneId": ref("zone"),
    },
    fields={
        "agentIpAddress": text("r", nullable=True),
        "apiProxy": text(also=admins("ru"), nullable=True),
        "driver": text(),
        "hostname": text("rc", required=True),
        "info": typed("json", "r"),
        "instanceIds": typed("array[reference[instance]]", "r"),
        "labels": typed("map[string]", "ru", schedule_update=True),
        "publicEndpoints": typed("array[publicEndpoint]", "r", nullable=True),
        "reportedUuid": text(),
    },
    capabilities={
        "modifyInfra": words("activate create deactivate delete dockersocket evacuate purge remove update upgrade")
    },
    actions={
        "delete": Action(),
        "dockersocket": Action(output="hostAccess", only_states=words("active inactive activating deactivating")),
        "evacuate": Action(output="host", only_states=words("active inactive")),
        "upgrade": Action(),
    },
    access=by_workers("LRUD") | allow("restricted", actions=()),
)

HOST_TEMPLATE = resource(
    "hostTemplate",
    columns=standard()
    | {
        "driver": text("rc"),
        "flavorPrefix": text("rc"),
    },
    fields={
        "publicValues": typed("map[json]", "rc"),
        "secretValues": typed("map[json]", "rco", also={"service": "rc"}),
        "secretValuesEmpty": typed("map[json]"),
    },
    access=by_workers("LCRUD"),
)

HOST_IP_ADDRESS_MAP = resource(
    "hostIpAddressMap",
    columns=standard("accountId")
    | {
        "hostId": ref("host"),
        "ipAddressId": ref("ipAddress"),
    },
    stored=False,
)

HOST_LABEL_MAP = resource(
    "hostLabelMap",
    columns=standard()
    | {
        "hostId": ref("host"),
        "labelId": ref("label"),
    },
    stored=False,
)

INSTANCE_HOST_MAP = resource(
    "instanceHostMap",
    columns=standard("accountId")
    | {
        "hostId": ref("host"),
        "instanceId": ref("instance"),
    },
    stored=False,
)

INSTANCE_LABEL_MAP = resource(
    "instanceLabelMap",
    columns=standard()
    | {
        "instanceId": ref("instance"),
        "labelId": ref("label"),
    },
    stored=False,
)

CLUSTER_HOST_MAP = resource(
    "clusterHostMap",
    columns=standard("accountId", state=text("r", max_length=128))
    | {
        "clusterId": ref("host"),
        "hostId": ref("host"),
    },
    stored=False,
)

LABEL = resource(
    "label",
    columns=standard()
    | {
        "key": text("r", max_length=1024),
        "type": text(),
        "value": text("r", max_length=4096),
    },
    access=by_workers("LR"),
)

AGENT = resource(
    "agent",
    columns=standard()
    | {
        "externalId": text("rc", max_length=128),
        "managedConfig": flag("rc", default=True),
        "uri": text("rc", unique=True),
        "zoneId": ref("zone"),
    },
    fields={
        "activateOnCreate": flag(default=False),
        "agentResourcesAccountId": ref("account", "rc"),
        "authorizedRoleAccountIds": typed("array[reference[account]]"),
        "externalCredentials": typed("array[externalCredential]", "rc"),
        "labels": typed("map[string]", "rc"),
        "publicValue": text("rc"),
        "secretValue": text("rco"),
        "user": text(),
    },
    nullable=True,
    access=by_admins("LCRUD")
    | allow("agent", grants={"r": words("id name"), "rc": words("user")})
    | allow("agentRegister", methods="LCR", grants={"rc": words("uri user")}),
)

ZONE = resource(
    "zone",
    columns={
        "accountId": ref("account"),
        "created": date(),
        "description": text(max_length=1024),
        "id": number(max_length=None),
        "kind": text(),
        "name": text(),
        "removeTime": date(),
        "removed": date(),
        "state": state(),
        "uuid": text(max_length=128),
    },
    fields={
        "data": typed("map[json]", max_length=MEDIUM_TEXT),
    },
    nullable=True,
)

RESOURCE_POOL = resource(
    "resourcePool",
    columns=standard(
        accountId=ref("account", "r", max_length=None),
        created=date("r", nullable=False, max_length=None),
        description=text("rcu", nullable=False, max_length=None),
        kind=text("r", nullable=False, max_length=None),
        name=text("rcu", nullable=False, max_length=None),
        removeTime=date(also=ADMINS_READ, nullable=False, max_length=None),
        removed=date("r", nullable=False, max_length=None),
        state=text("r", nullable=False, max_length=None),
        uuid=text("r", nullable=False, max_length=None),
        data=typed("map[json]", also=ADMINS_READ, column=False),
    )
    | {
        "item": text(nullable=False, max_length=None),
        "ownerId": number(max_length=None),
        "ownerType": text(nullable=False, max_length=None),
        "poolId": number(max_length=None),
        "poolType": text(nullable=False, max_length=None),
        "qualifier": text(nullable=False, max_length=None),
    },
)

TYPES = (
    HOST,
    HOST_TEMPLATE,
    HOST_IP_ADDRESS_MAP,
    HOST_LABEL_MAP,
    INSTANCE_HOST_MAP,
    INSTANCE_LABEL_MAP,
    CLUSTER_HOST_MAP,
    LABEL,
    AGENT,
    ZONE,
    RESOURCE_POOL,
)
