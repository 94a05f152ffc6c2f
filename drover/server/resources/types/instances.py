"""Containers and virtual machines, and what one asks of them."""

from __future__ import annotations

from drover.server.resources.access import ACTORS, ADMINS_READ, by_workers
from drover.server.resources.declare import (
    SEARCHABLE,
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

CAPABILITIES = (
    "ALL AUDIT_CONTROL AUDIT_WRITE BLOCK_SUSPEND CHOWN DAC_OVERRIDE DAC_READ_SEARCH "
    "FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE "
    "MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW SETFCAP SETGID SETPCAP SETUID "
    "SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE "
    "SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM"
)

INSTANCE = resource(
    "instance",
    columns=standard()
    | {
        "agentId": ref("agent"),
        "allocationState": text(),
        "compute": number(),
        "createIndex": number(),
        "deploymentUnitUuid": text(max_length=128),
        "dnsInternal": text(),
        "dnsSearchInternal": text(),
        "domain": text(max_length=128),
        "externalId": text("r", max_length=128),
        "firstRunning": date(),
        "healthState": text(max_length=128),
        "healthUpdated": date(),
        "hostId": ref("host", "r", max_length=None, filters=()),
        "hostname": text(),
        "imageId": ref("image"),
        "instanceTriggeredStop": choice(
            "stop remove", nullable=True, default="stop", max_length=128, filters=SEARCHABLE
        ),
        "memoryMb": number(),
        "memoryReservation": number(),
        "milliCpuReservation": number(),
        "nativeContainer": flag(),
        "networkContainerId": ref("instance"),
        "registryCredentialId": ref("credential"),
        "serviceId": ref("service"),
        "serviceIndexId": ref("serviceIndex"),
        "stackId": ref("stack"),
        "startCount": number(),
        "system": flag(default=False),
        "token": text(),
        "userdata": text(max_length=SHORT_TEXT),
        "version": text(),
        "zoneId": ref("zone"),
    },
    fields={
        "count": number(in_lists=False),
        "credentialIds": typed("array[reference[credential]]", in_lists=False),
        "expose": typed("array[string]"),
        "healthcheckStates": typed("array[healthcheckState]", also={"superadmin": ""}, nullable=False),
        "imageUuid": text(),
        "mounts": typed("array[mount]", nullable=False),
        "networkIds": typed("array[reference[network]]", in_lists=False),
        "ports": typed("array[string]"),
        "primaryIpAddress": text(nullable=False),
        "requestedHostId": ref("host"),
        "requestedIpAddress": text(),
        "serviceIds": typed("array[reference[service]]"),
        "serviceIndex": text(),
        "startOnCreate": flag(nullable=False, default=True),
        "volumeDriver": text(),
    },
    nullable=True,
    capabilities={"console": words("console")},
    actions={
        "console": Action(input="instanceConsoleInput", output="instanceConsole", only_states=words("running")),
        "stop": Action(input="instanceStop"),
    },
    access=by_workers("LR"),
)

CONTAINER = kind(
    "container",
    INSTANCE,
    columns={
        "agentId": ref("agent", also=ADMINS_READ),
        "allocationState": text(also=ADMINS_READ),
        "healthState": choice(
            "healthy unhealthy updating-healthy updating-unhealthy initializing",
            "r",
            nullable=True,
            max_length=128,
            filters=SEARCHABLE,
        ),
        "hostname": text("rc", min_length=1),
        "name": text("rcu", unique=True),
        "networkContainerId": ref("container", "rc"),
        "registryCredentialId": ref("registryCredential", "rc"),
        "token": text(also=ADMINS_READ),
        "version": text("r", nullable=False, default="0"),
    },
    fields={
        "blkioDeviceOptions": typed("map[blkioDeviceOption]", "rc"),
        "blkioWeight": number("rc"),
        "build": typed("dockerBuild", "rc"),
        "capAdd": typed("array[enum]", "rc", values=words(CAPABILITIES)),
        "capDrop": typed("array[enum]", "rc", values=words(CAPABILITIES)),
        "cgroupParent": text("rc"),
        "command": typed("array[string]", "rc"),
        "cpuCount": number("rc"),
        "cpuPercent": number("rc"),
        "cpuPeriod": number("rc"),
        "cpuQuota": number("rc"),
        "cpuRealtimePeriod": number("rc"),
        "cpuRealtimeRuntime": number("rc"),
        "cpuSet": text("rc"),
        "cpuSetMems": text("rc"),
        "cpuShares": number("rc"),
        "dataVolumeMounts": typed("map[reference[volume]]", "rc"),
        "dataVolumes": typed("array[string]", "rc"),
        "dataVolumesFrom": typed("array[reference[container]]", "rc"),
        "devices": typed("array[string]", "rc"),
        "diskQuota": number("rc"),
        "dns": typed("array[string]", "rc"),
        "dnsOpt": typed("array[string]", "rc"),
        "dnsSearch": typed("array[string]", "rc"),
        "dockerHostIp": text(nullable=False),
        "dockerIp": text(nullable=False),
        "dockerPorts": typed("map[string]", nullable=False),
        "domainName": text("rc"),
        "entryPoint": typed("array[string]", "rc"),
        "environment": typed("map[string]", "rc", also={"readonly": ""}, nullable=False),
        "extraHosts": typed("array[string]", "rc"),
        "groupAdd": typed("array[string]", "rc"),
        "healthCheck": typed("instanceHealthCheck", "rc"),
        "healthCmd": typed("array[string]", "rc"),
        "healthInterval": number("rc"),
        "healthRetries": number("rc"),
        "healthTimeout": number("rc"),
        "instanceLinks": typed("map[reference[instance]]", "rc", in_lists=False),
        "ioMaximumBandwidth": number("rc"),
        "ioMaximumIOps": number("rc"),
        "ip": text("rc"),
        "ip6": text("rc"),
        "ipcMode": text("rc"),
        "isolation": text("rc"),
        "kernelMemory": number("rc"),
        "labels": typed("map[string]", "rc", nullable=False),
        "logConfig": typed("logConfig", "rc"),
        "lxcConf": typed("map[string]", "rc"),
        "memory": number("rc"),
        "memorySwap": number("rc"),
        "memorySwappiness": number("rc"),
        "mounts": typed("array[mountEntry]", "r", nullable=False),
        "netAlias": typed("array[string]", "rc"),
        "networkMode": text("rc", default="managed"),
        "oomKillDisable": flag("rc"),
        "oomScoreAdj": number("rc"),
        "pidMode": choice("host", "rc"),
        "pidsLimit": number("rc"),
        "primaryNetworkId": ref("network", "r", nullable=False),
        "privileged": flag("rc", nullable=False, default=False),
        "publishAllPorts": flag("rc", nullable=False, default=False),
        "readOnly": flag("rc", nullable=False, default=False),
        "restartPolicy": typed("restartPolicy", "rc"),
        "runInit": flag("rc", nullable=False, default=False),
        "secrets": typed("array[secretReference]", "rc", also={"projectadmin": "", "environment": ""}, nullable=False),
        "securityOpt": typed("array[string]", "rc"),
        "shmSize": number("rc"),
        "stdinOpen": flag("rc", nullable=False, default=False),
        "stopSignal": text("rc"),
        "stopTimeout": number("rc"),
        "storageOpt": typed("map[string]", "rc"),
        "sysctls": typed("map[string]", "rc"),
        "tmpfs": typed("map[string]", "rc"),
        "tty": flag("rc", nullable=False, default=False),
        "ulimits": typed("array[ulimit]", "rc"),
        "user": text("rc", min_length=1),
        "userPorts": typed("array[string]", "r"),
        "usernsMode": text("rc"),
        "uts": text("rc"),
        "workingDir": text("rc", min_length=1),
    },
    nullable=True,
    letters={
        "rc": words(
            "count expose imageUuid instanceTriggeredStop memoryReservation milliCpuReservation "
            "networkIds ports requestedHostId stackId startOnCreate volumeDriver"
        ),
        "r": words(
            "createIndex deploymentUnitUuid firstRunning nativeContainer primaryIpAddress "
            "serviceId serviceIds startCount system"
        ),
    },
    actions={
        "execute": Action(input="containerExec", output="hostAccess", only_states=words("running")),
        "logs": Action(
            input="containerLogs",
            output="hostAccess",
            only_states=words("running stopped stopping"),
            roles=(*ACTORS, "readonly"),
        ),
        "proxy": Action(input="containerProxy", output="hostAccess", only_states=words("running")),
    },
    access=by_workers("LCRUD"),
)

VIRTUAL_MACHINE = kind(
    "virtualMachine",
    CONTAINER,
    columns={
        "memoryMb": number("rc", default=512),
    },
    fields={
        "capabilities": typed("array[string]"),
        "disks": typed("array[virtualMachineDisk]", "rc"),
        "publicIpAddressPoolId": ref("ipPool", also={"superadmin": ""}),
        "vcpu": number("rc", default=1),
    },
    nullable=True,
    letters={
        "": words(
            "build capAdd capDrop dataVolumeMounts dataVolumes dataVolumesFrom devices entryPoint "
            "environment lxcConf networkContainerId pidMode privileged publishAllPorts readOnly "
            "secrets stdinOpen tty user workingDir"
        ),
        "rc": words("userdata"),
    },
)

VIRTUAL_MACHINE_DISK = resource(
    "virtualMachineDisk",
    fields={
        "driver": text("rc"),
        "name": text("rc", nullable=True, min_length=2, valid_chars="a-z0-9_.-"),
        "opts": typed("map[string]", "rc"),
        "readIops": number("rc", nullable=True),
        "root": flag("rc"),
        "size": text("rc", default="40g"),
        "writeIops": number("rc", nullable=True),
    },
    access=by_workers("CR", "R"),
)

INSTANCE_LINK = resource(
    "instanceLink",
    columns=standard()
    | {
        "instanceId": ref("instance", "r"),
        "linkName": text("r"),
        "serviceConsumeMapId": ref("serviceConsumeMap"),
        "targetInstanceId": ref("instance", "ru", schedule_update=True),
    },
    fields={
        "instanceNames": typed("array[string]"),
        "ports": typed("array[json]", also=ADMINS_READ),
    },
    access=by_workers("LRU"),
)

DEPLOYMENT_UNIT = resource(
    "deploymentUnit",
    columns=standard(state=text("r", max_length=128), data=SMALL_DATA)
    | {
        "serviceId": ref("service"),
        "serviceIndex": text(),
    },
    fields={
        "labels": typed("map[string]"),
    },
)

INSTANCE_STOP = resource(
    "instanceStop",
    fields={
        "remove": flag("rc"),
        "timeout": number("rc"),
    },
    access=by_workers("CR", "R"),
)

CONTAINER_EXEC = resource(
    "containerExec",
    fields={
        "attachStdin": flag("rc", default=True),
        "attachStdout": flag("rc", default=True),
        "command": typed("array[string]", "rc", required=True),
        "tty": flag("rc", default=True),
    },
    access=by_workers("CR", "R"),
)

CONTAINER_LOGS = resource(
    "containerLogs",
    fields={
        "follow": flag("rc", default=True),
        "lines": number("rc", nullable=True, default=100, min=0),
        "since": text("rc"),
        "timestamps": flag("rc", nullable=True, default=True),
    },
    access=by_workers("CR", "R"),
)

CONTAINER_PROXY = resource(
    "containerProxy",
    fields={
        "port": number("rc", nullable=True, default=80, min=0),
        "scheme": choice("http https", "rc", default="http"),
    },
    access=by_workers("CR", "R"),
)

INSTANCE_CONSOLE = resource(
    "instanceConsole",
    fields={
        "kind": text("r"),
        "password": text("r"),
        "url": text("r"),
    },
    access=by_workers("R", "R"),
)

INSTANCE_CONSOLE_INPUT = resource(
    "instanceConsoleInput",
    access=by_workers("R", "R"),
)

HOST_ACCESS = resource(
    "hostAccess",
    fields={
        "token": text("r"),
        "url": text("r"),
    },
    access=by_workers("R", "R"),
)

STATS_ACCESS = resource(
    "statsAccess",
    fields={
        "token": text("r"),
        "url": text("r"),
    },
    access=by_workers("R", "R"),
)

TYPES = (
    INSTANCE,
    CONTAINER,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_DISK,
    INSTANCE_LINK,
    DEPLOYMENT_UNIT,
    INSTANCE_STOP,
    CONTAINER_EXEC,
    CONTAINER_LOGS,
    CONTAINER_PROXY,
    INSTANCE_CONSOLE,
    INSTANCE_CONSOLE_INPUT,
    HOST_ACCESS,
    STATS_ACCESS,
)
