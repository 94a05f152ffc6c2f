"""Images, volumes, pools and what lies in them."""

from __future__ import annotations

from drover.server.resources.access import NOBODY, allow, by_workers
from drover.server.resources.declare import (
    SEARCHABLE,
    SMALL_DATA,
    choice,
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

IMAGE = resource(
    "image",
    columns=standard()
    | {
        "checksum": text(),
        "format": text(),
        "instanceKind": choice("container virtualMachine", nullable=True, filters=SEARCHABLE),
        "isPublic": flag(),
        "physicalSizeMb": number(),
        "registryCredentialId": ref("credential"),
        "url": text(),
        "virtualSizeMb": number(),
    },
    fields={
        "build": typed("dockerBuild"),
    },
    access=by_workers("LR"),
)

IMAGE_STORAGE_POOL_MAP = resource(
    "imageStoragePoolMap",
    columns=standard("accountId")
    | {
        "imageId": ref("image"),
        "storagePoolId": ref("storagePool"),
    },
    stored=False,
)

STORAGE_POOL = resource(
    "storagePool",
    columns=standard()
    | {
        "agentId": ref("agent"),
        "driverName": text("r"),
        "external": flag(),
        "externalId": text("r", max_length=128),
        "hostId": ref("host", internal=True),
        "physicalTotalSizeMb": number(),
        "storageDriverId": ref("storageDriver", "r"),
        "virtualTotalSizeMb": number(),
        "volumeAccessMode": text("r"),
        "zoneId": ref("zone"),
    },
    fields={
        "blockDevicePath": text("r"),
        "hostIds": typed("array[reference[host]]", "r"),
        "volumeCapabilities": typed("array[string]", "r"),
        "volumeIds": typed("array[reference[volume]]", "r"),
    },
    nullable=True,
    access=by_workers("LR")
    | allow(
        "agent",
        grants={
            "rc": words("blockDevicePath driverName externalId name volumeAccessMode volumeCapabilities"),
            "r": words("id"),
        },
    ),
)

REGISTRY = kind(
    "registry",
    STORAGE_POOL,
    fields={
        "serverAddress": text("rc", required=True, min_length=1),
    },
    letters={"": words("hostIds storageDriverId volumeIds")},
    access=by_workers("LCRUD"),
)

STORAGE_POOL_HOST_MAP = resource(
    "storagePoolHostMap",
    columns=standard("accountId")
    | {
        "hostId": ref("host"),
        "storagePoolId": ref("storagePool"),
    },
    stored=False,
)

VOLUME = resource(
    "volume",
    columns=standard(name=text("rc", required=True))
    | {
        "accessMode": text("r"),
        "allocationState": text(),
        "attachedState": text(),
        "deploymentUnitId": ref("deploymentUnit"),
        "deviceNumber": number(),
        "externalId": text("r", max_length=128),
        "format": text(),
        "hostId": ref("host", "rcu", schedule_update=True),
        "imageId": ref("image", "r"),
        "instanceId": ref("instance", "r"),
        "physicalSizeMb": number(),
        "sizeMb": number("rc"),
        "stackId": ref("stack", "rc"),
        "storageDriverId": ref("storageDriver", "rc", nullable=False),
        "storagePoolId": ref("storagePool", internal=True),
        "uri": text("r"),
        "virtualSizeMb": number(),
        "volumeTemplateId": ref("volumeTemplate", "rc"),
        "zoneId": ref("zone"),
    },
    fields={
        "capabilities": typed("array[string]", nullable=True),
        "driver": text("rc"),
        "driverOpts": typed("map[string]", "rcu", nullable=True),
        "isHostPath": flag("r", default=False),
        "isNative": flag(default=False),
        "mounts": typed("array[mountEntry]", "r"),
    },
    actions={
        "activate": Action(roles=NOBODY),
        "deactivate": Action(roles=NOBODY),
        "restorefrombackup": Action(input="restoreFromBackupInput"),
        "reverttosnapshot": Action(input="revertToSnapshotInput"),
        "snapshot": Action(input="volumeSnapshotInput", output="snapshot", only_states=words("active inactive")),
    },
    access=by_workers("LCRUD")
    | allow("agent", grants={"rc": words("driver driverOpts externalId format isHostPath name uri"), "r": words("id")}),
)

VOLUME_STORAGE_POOL_MAP = resource(
    "volumeStoragePoolMap",
    columns=standard("accountId")
    | {
        "storagePoolId": ref("storagePool"),
        "volumeId": ref("volume"),
    },
    stored=False,
)

VOLUME_TEMPLATE = resource(
    "volumeTemplate",
    columns=standard(name=text("rcu", required=True), data=SMALL_DATA)
    | {
        "driver": text("rc"),
        "external": flag("rc"),
        "perContainer": flag("rc"),
        "stackId": ref("stack", "rc", nullable=False, required=True),
    },
    fields={
        "driverOpts": typed("map[string]", "rc"),
    },
    nullable=True,
    access=by_workers("LCR"),
)

MOUNT = resource(
    "mount",
    columns=standard()
    | {
        "instanceId": ref("instance", "r"),
        "path": text("r", max_length=512),
        "permissions": text("r", max_length=128),
        "volumeId": ref("volume", "r"),
    },
    access=by_workers("LR"),
)

MOUNT_ENTRY = resource(
    "mountEntry",
    fields={
        "instanceId": ref("instance", "r"),
        "instanceName": text("r"),
        "path": text("r"),
        "permission": text(),
        "type": text(),
        "volumeId": ref("volume", "r"),
        "volumeName": text("r"),
    },
    access=by_workers("R", "R"),
)

STORAGE_DRIVER = resource(
    "storageDriver",
    columns=standard()
    | {
        "serviceId": ref("service", "r"),
    },
    fields={
        "blockDevicePath": text("rc", nullable=True),
        "scope": choice("local environment custom", "rc"),
        "volumeAccessMode": choice("singleHostRW singleInstanceRW multiHostRW", "rc", default="multiHostRW"),
        "volumeCapabilities": typed("array[string]", "rc", nullable=True),
    },
    access=by_workers("LR"),
)

NFS_CONFIG = resource(
    "nfsConfig",
    fields={
        "mountOptions": text("rc", nullable=True),
        "server": text("rc", required=True),
        "share": text("rc", required=True),
    },
    access=by_workers("R", "R"),
)

CREDENTIAL_INSTANCE_MAP = resource(
    "credentialInstanceMap",
    columns=standard("accountId")
    | {
        "credentialId": ref("credential"),
        "instanceId": ref("instance"),
    },
    stored=False,
)

TYPES = (
    IMAGE,
    IMAGE_STORAGE_POOL_MAP,
    STORAGE_POOL,
    REGISTRY,
    STORAGE_POOL_HOST_MAP,
    VOLUME,
    VOLUME_STORAGE_POOL_MAP,
    VOLUME_TEMPLATE,
    MOUNT,
    MOUNT_ENTRY,
    STORAGE_DRIVER,
    NFS_CONFIG,
    CREDENTIAL_INSTANCE_MAP,
)
