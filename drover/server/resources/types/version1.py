"""What is different in v1: the types that it lacks, and the changes to those that it shares."""

from __future__ import annotations

from drover.server.resources.access import ADMINS_READ, admins, allow, by_admins, by_nobody, by_workers
from drover.server.resources.declare import (
    MEDIUM_TEXT,
    SEARCHABLE,
    SHORT_TEXT,
    choice,
    date,
    flag,
    number,
    ref,
    text,
    typed,
    words,
)
from drover.server.resources.model import Action, Link
from drover.server.resources.version1 import Change

# Types of v2-beta that v1 never had.
ABSENT = frozenset(
    words(
        "accountLink balancerServiceConfig balancerTargetConfig binding catalogTemplate "
        "clusterMembership defaultNetwork deploymentUnit externalCredential hostTemplate "
        "lbConfig lbTargetConfig mountEntry networkDriver networkDriverService "
        "networkPolicyRule networkPolicyRuleAction networkPolicyRuleBetween "
        "networkPolicyRuleMember networkPolicyRuleWithin portRule processPool processSummary "
        "projectTemplate region scheduledUpgrade secret secretReference serviceBinding "
        "serviceLog stackUpgrade storageDriver storageDriverService targetPortRule ulimit "
        "volumeActivateInput volumeTemplate"
    )
)

# Types whose schema lists an action that no release ever offered: restore.
RESTORABLE = frozenset(
    words(
        "account agent credentialInstanceMap externalHandler "
        "externalHandlerExternalHandlerProcessMap externalHandlerProcess genericObject host "
        "hostIpAddressMap image imageStoragePoolMap instance instanceHostMap instanceLink "
        "ipAddress ipAddressNicMap network nic port projectMember serviceIndex storagePool "
        "subnet userPreference volume volumeStoragePoolMap zone"
    )
)

CHANGES = {
    "account": Change(
        drop=words(
            "createdStackIds healthState projectTemplateId revision scheduledUpgradeDelayMinutes "
            "startedStackIds version"
        ),
        columns={
            "defaultNetworkId": ref("network", max_length=None, filters=()),
            "state": choice(
                "activating active deactivating inactive purged purging registering removed removing "
                "requested restoring updating-active updating-inactive",
                "r",
                max_length=128,
            ),
        },
        drop_actions=words("upgrade"),
    ),
    "project": Change(
        drop=words("hostRemoveDelaySeconds orchestration projectLinks"),
        fields={
            "kubernetes": flag("rcu", default=False, schedule_update=True),
            "mesos": flag("rcu", default=False, schedule_update=True),
            "publicDns": flag("rcu", default=False, schedule_update=True),
            "swarm": flag("rcu", default=False, schedule_update=True),
        },
        letters={"": words("defaultNetworkId")},
        drop_actions=words("defaultNetworkId"),
        capabilities={"owner": words("restore setmembers")},
    ),
    "projectMember": Change(
        columns={
            "externalIdType": choice(
                "github_user github_org github_team rancher_id ldap_user ldap_group openldap_user "
                "openldap_group azuread_user azuread_group",
                "rc",
                nullable=True,
                default="rancher_id",
                filters=SEARCHABLE,
            )
        },
    ),
    "token": Change(
        drop=words("authenticatedAsAccountId originalLogin redirectUrl"),
        fields={"clientId": text(nullable=True), "hostname": text(nullable=True), "scheme": text(nullable=True)},
        access=by_nobody()
        | allow(
            "token",
            methods="LCR",
            grants={
                "r": words(
                    "accountId authProvider clientId enabled hostname jwt scheme security user userIdentity userType"
                ),
                "rc": words("code"),
            },
        ),
    ),
    "identity": Change(
        drop=words("user"),
    ),
    "azureadconfig": Change(
        fields={
            "adminAccountPassword": text("rco", nullable=True, required=True, min_length=1),
            "adminAccountUsername": text("rc", nullable=True, required=True, min_length=1),
        },
    ),
    "openldapconfig": Change(
        drop=words("groupDNField groupMemberUserAttribute groupSearchDomain"),
        fields={"userMemberAttribute": text("rc", required=True, default="gidNumber")},
        letters={"": words("allowedIdentities")},
    ),
    "loadBalancerConfig": Change(
        fields={
            "haproxyConfig": typed("haproxyConfig", "rcu", nullable=True, schedule_update=True),
            "lbCookieStickinessPolicy": typed(
                "loadBalancerCookieStickinessPolicy", "rcu", nullable=True, schedule_update=True
            ),
        },
        access=by_workers("CRUD", "R"),
    ),
    "loadBalancerCookieStickinessPolicy": Change(
        fields={"mode": choice("rewrite insert prefix", "rcu"), "name": text("rcu")},
    ),
    "haproxyConfig": Change(
        letters={"rcu": words("defaults global")},
        access=by_workers("CRU", "R"),
    ),
    "registryCredential": Change(
        fields={"email": text("rcu", required=True, min_length=1)},
    ),
    "authToken": Change(
        drop=words("authenticatedAsAccountId"),
    ),
    "certificate": Change(
        columns={"key": text("rcuo", nullable=False, required=True, max_length=SHORT_TEXT, schedule_update=True)},
    ),
    "processInstance": Change(
        drop=words("accountId executionCount runAfter"),
        drop_actions=words("replay"),
    ),
    "configItemStatus": Change(
        columns={
            "accountId": ref("account", "r"),
            "agentId": ref("agent", "r"),
            "appliedUpdated": date("r"),
            "appliedVersion": number("ru", nullable=False),
            "hostId": ref("host"),
            "name": text("rcu"),
            "requestedUpdated": date("r", nullable=False),
            "requestedVersion": number("r", nullable=False),
            "resourceId": number(nullable=False),
            "resourceType": text(max_length=128),
            "serviceId": ref("service"),
            "sourceVersion": text("r"),
            "stackId": ref("stack"),
        },
    ),
    "auditLog": Change(
        fields={"responseCode": text("r")},
    ),
    "externalHostEvent": Change(
        access=by_workers("LCR"),
    ),
    "externalHandlerExternalHandlerProcessMap": Change(
        drop=words("eventName"),
    ),
    "host": Change(
        drop=words(
            "agentIpAddress driver hostTemplateId instanceIds localStorageMb memory milliCpu "
            "removeAfter reportedUuid stackId"
        ),
        columns={
            "state": choice(
                "activating active deactivating inactive purged purging registering removed removing "
                "requested restoring updating-active updating-inactive",
                "r",
                max_length=128,
            )
        },
        fields={"hostname": text("r")},
        drop_actions=words("delete error evacuate provision upgrade"),
        capabilities={"": words("activate create deactivate dockersocket purge remove update")},
    ),
    "agent": Change(
        drop=words(
            "activateOnCreate agentResourcesAccountId authorizedRoleAccountIds "
            "externalCredentials externalId labels publicValue secretValue"
        ),
        columns={
            "agentGroupId": ref("agentGroup"),
            "state": choice(
                "activating active deactivating disconnected disconnecting inactive purged purging "
                "reconnecting registering removed removing requested restoring updating-active "
                "updating-inactive",
                "r",
                max_length=128,
            ),
        },
        letters={"r": words("managedConfig uri")},
        drop_actions=words("finishreconnect"),
        access=by_admins("LR")
        | allow("agent", grants={"r": words("id name"), "rc": words("user")})
        | allow("agentRegister", methods="LCR", grants={"rc": words("uri user")}),
    ),
    "resourcePool": Change(
        columns={
            "accountId": ref("account", "r"),
            "created": date("r"),
            "description": text("rcu", max_length=1024),
            "item": text(),
            "kind": text("r"),
            "name": text("rcu"),
            "ownerId": number(),
            "ownerType": text(),
            "poolId": number(),
            "poolType": text(),
            "qualifier": text(max_length=128),
            "removeTime": date(also=ADMINS_READ),
            "removed": date("r"),
            "state": text("r", max_length=128),
            "uuid": text("r", max_length=128),
        },
        fields={"data": typed("map[json]", also=ADMINS_READ, nullable=True, max_length=MEDIUM_TEXT)},
    ),
    "instance": Change(
        drop=words(
            "healthcheckStates memoryReservation milliCpuReservation mounts serviceId serviceIds stackId system"
        ),
        columns={
            "instanceTriggeredStop": choice(
                "stop remove restart", nullable=True, default="stop", max_length=128, filters=SEARCHABLE
            ),
            "offeringId": ref("offering"),
            "systemContainer": choice(
                "NetworkAgent LoadBalancerAgent", nullable=True, max_length=128, filters=SEARCHABLE
            ),
        },
        fields={
            "primaryAssociatedIpAddress": text(),
            "subnetIds": typed("array[reference[subnet]]", nullable=True, in_lists=False),
            "vnetIds": typed("array[reference[vnet]]", nullable=True, in_lists=False),
        },
    ),
    "container": Change(
        drop=words(
            "blkioWeight cgroupParent cpuCount cpuPercent cpuPeriod cpuQuota cpuRealtimePeriod "
            "cpuRealtimeRuntime cpuSetMems diskQuota dnsOpt groupAdd healthCmd healthInterval "
            "healthRetries healthTimeout ioMaximumBandwidth ioMaximumIOps ip ip6 ipcMode "
            "isolation kernelMemory memorySwappiness netAlias oomKillDisable oomScoreAdj "
            "pidsLimit primaryNetworkId runInit secrets shmSize stopSignal stopTimeout storageOpt "
            "sysctls tmpfs ulimits userPorts usernsMode uts"
        ),
        columns={"name": text("rcu")},
        fields={
            "environment": typed("map[string]", "rc"),
            "networkMode": choice("none bridge host managed container", "rc", nullable=True, default="managed"),
        },
        letters={"": words("instanceTriggeredStop"), "r": words("systemContainer")},
        actions={"setlabels": Action(input="setLabelsInput", output="container")},
    ),
    "virtualMachine": Change(
        fields={"publicIpAddressPoolId": ref("ipPool", nullable=True)},
    ),
    "containerLogs": Change(
        drop=words("since timestamps"),
        fields={"lines": number("rc", nullable=True, default=100, min=0)},
    ),
    "containerProxy": Change(
        fields={"port": number("rc", nullable=True, default=80, min=0)},
    ),
    "launchConfig": Change(
        drop=words("drainTimeoutMs"),
        letters={"rc": words("ports")},
    ),
    "secondaryLaunchConfig": Change(
        columns={
            "name": text("rc", nullable=False, required=True, min_length=1, max_length=63, valid_chars="a-zA-Z0-9-")
        },
    ),
    "physicalHost": Change(
        capabilities={"": words("bootstrap create error remove update")},
    ),
    "machineDriver": Change(
        drop=words("schemaVersion"),
        fields={"externalId": text("rcu")},
        actions={
            "create": Action(
                output="machineDriver",
                roles=(
                    "owner",
                    "member",
                    "project",
                    "projectadmin",
                    "restricted",
                    "user",
                    "admin",
                    "readAdmin",
                    "superadmin",
                ),
            )
        },
        access=by_workers("LR") | allow("admin", "service", methods="LCRUD"),
    ),
    "network": Change(
        drop=words("defaultPolicyAction dns dnsSearch hostPorts metadata networkDriverId policy subnets"),
        access=by_workers("LR"),
    ),
    "hostOnlyNetwork": Change(
        fields={"dynamicCreateVnet": flag(default=False), "hostVnetUri": text(nullable=True)},
    ),
    "subnet": Change(
        columns={"ipPoolId": ref("ipPool")},
        access=by_nobody(),
    ),
    "ipAddress": Change(
        columns={"ipPoolId": ref("ipPool")},
        actions={"associate": Action(input="ipAddressAssociateInput", output="ipPool")},
        capabilities={"associate": words("associate disassociate")},
    ),
    "nic": Change(
        columns={"subnetId": ref("subnet"), "vnetId": ref("vnet")},
    ),
    "setting": Change(
        columns={"value": text("r", also=admins("rcu"), max_length=1024)},
    ),
    "genericObject": Change(
        drop=words("resourceData"),
        columns={
            "state": choice(
                "activating active deactivating inactive purged purging registering removed removing "
                "requested restoring updating-active updating-inactive",
                "r",
                max_length=128,
            )
        },
        actions={
            "activate": Action(output="genericObject", offered=False),
            "deactivate": Action(output="genericObject", offered=False),
            "purge": Action(output="genericObject", offered=False),
            "update": Action(output="genericObject", offered=False),
        },
        access=by_nobody(),
    ),
    "pullTask": Change(
        letters={"rcu": words("name")},
    ),
    "register": Change(
        letters={"r": words("kind"), "rcu": words("name")},
    ),
    "resource": Change(
        drop=words("baseType"),
    ),
    "service": Change(
        drop=words(
            "environmentId executionCount executionPeriodStart instanceIds lbConfig "
            "linkedServices serviceIndexStrategy skip system"
        ),
        columns={
            "stackId": ref("stack", "rc", nullable=False, required=True),
            "state": choice(
                "activating active canceled-rollback canceled-upgrade canceling-rollback "
                "canceling-upgrade deactivating finishing-upgrade inactive registering removed "
                "removing requested restarting rolling-back updating-active updating-inactive "
                "upgraded upgrading",
                "r",
                max_length=128,
            ),
        },
        letters={"r": words("publicEndpoints")},
        drop_actions=words("continueupgrade"),
        actions={"cancelrollback": Action(output="service", offered=False)},
    ),
    "loadBalancerService": Change(
        fields={
            "certificateIds": typed("array[reference[certificate]]", "rcu", nullable=True, schedule_update=True),
            "defaultCertificateId": ref("certificate", "rcu", nullable=True, schedule_update=True),
            "launchConfig": typed("launchConfig", "rc", nullable=True),
            "loadBalancerConfig": typed("loadBalancerConfig", "rcu", nullable=True),
        },
        actions={
            "addservicelink": Action(input="addRemoveLoadBalancerServiceLinkInput", output="service"),
            "removeservicelink": Action(input="addRemoveLoadBalancerServiceLinkInput", output="service"),
            "setservicelinks": Action(input="setLoadBalancerServiceLinksInput", output="service"),
        },
    ),
    "serviceConsumeMap": Change(
        drop=words("consumedService"),
    ),
    "serviceProxy": Change(
        fields={"port": number("rc", nullable=True, default=80, min=0)},
    ),
    "publicEndpoint": Change(
        letters={"r": words("hostId instanceId ipAddress port serviceId")},
        access=by_workers("R", "R"),
    ),
    "serviceLink": Change(
        drop=words("service"),
        fields={"serviceId": ref("service", "rc", required=True)},
    ),
    "stack": Change(
        drop=words("answers binding group serviceIds system templates"),
        columns={
            "state": choice(
                "activating active canceled-upgrade canceling-rollback canceling-upgrade error "
                "erroring finishing-upgrade removed removing requested rolling-back updating-active "
                "upgraded upgrading",
                "r",
                max_length=128,
            )
        },
        actions={"cancelrollback": Action(output="stack", offered=False)},
    ),
    "composeProject": Change(
        fields={"templates": typed("map[string]", "rc", required=True)},
    ),
    "kubernetesStack": Change(
        fields={"templates": typed("map[string]", "rc", required=True)},
    ),
    "kubernetesStackUpgrade": Change(
        drop=words("answers"),
    ),
    "storagePool": Change(
        drop=words("hostIds storageDriverId volumeIds"),
    ),
    "volume": Change(
        drop=words("deploymentUnitId isNative mounts sizeMb stackId storageDriverId volumeTemplateId"),
        columns={
            "hostId": ref("host"),
            "name": text("rc", required=True, unique=True),
            "offeringId": ref("offering"),
            "state": choice(
                "activating active deactivating inactive purged purging registering removed removing "
                "requested restoring restoring-active restoring-inactive reverting-active "
                "reverting-inactive updating-active updating-inactive",
                "r",
                max_length=128,
            ),
            "uri": text("r", max_length=512),
        },
        fields={"driver": text("rc", required=True)},
        letters={"rc": words("driverOpts")},
        actions={"activate": Action(output="volume")},
        access=by_workers("LCRD")
        | allow(
            "agent", grants={"rc": words("driver driverOpts externalId format isHostPath name uri"), "r": words("id")}
        ),
    ),
    "volumeStoragePoolMap": Change(
        columns={
            "state": choice(
                "activating active deactivating inactive purged purging registering removed removing "
                "requested restoring updating-active updating-inactive",
                "r",
                max_length=128,
            )
        },
        actions={"purge": Action(output="volumeStoragePoolMap", offered=False)},
    ),
}

# Links that no column of v1 tells of.
LINKS = {"service": {"instances": Link("child", "instance", field="serviceId")}}
