"""Machines: hosts that the server creates itself, and the drivers that do it."""

from __future__ import annotations

from drover.server.resources.access import WORKERS, allow, by_nobody, by_workers
from drover.server.resources.declare import (
    MEDIUM_TEXT,
    SMALL_DATA,
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

PHYSICAL_HOST = resource(
    "physicalHost",
    columns=standard()
    | {
        "agentId": ref("agent"),
        "driver": text("r", max_length=128),
        "externalId": text("r", max_length=128),
    },
    capabilities={"modifyInfra": words("bootstrap create error remove update")},
    access=by_workers("LR") | allow("restricted", actions=()),
)

MACHINE = kind(
    "machine",
    PHYSICAL_HOST,
    columns={
        "name": text("rc", nullable=False, required=True, min_length=1),
    },
    fields={
        "authCertificateAuthority": text("rc"),
        "authKey": text("rc", secret=True),
        "dockerVersion": text("rc"),
        "engineEnv": typed("map[string]", "rc"),
        "engineInsecureRegistry": typed("array[string]", "rc"),
        "engineInstallUrl": text("rc"),
        "engineLabel": typed("map[string]", "rc"),
        "engineOpt": typed("map[string]", "rc"),
        "engineRegistryMirror": typed("array[string]", "rc"),
        "engineStorageDriver": text("rc"),
        "extractedConfig": text(also={"service": "ru"}),
        "labels": typed("map[string]", "rc", also={"service": "rcu"}),
    },
    nullable=True,
    access=by_workers("LCRD") | allow("restricted", methods="LCRD", actions=()) | allow("service", methods="LCRUD"),
)

MACHINE_DRIVER = resource(
    "machineDriver",
    columns=standard("accountId", name=text("r", also={"service": "rcu"}), data=SMALL_DATA)
    | {
        "md5checksum": text(),
        "uri": text(),
    },
    fields={
        "activateOnCreate": flag("rc"),
        "builtin": flag("rc"),
        "checksum": text("rcu", nullable=True, schedule_update=True),
        "defaultActive": flag("r"),
        "externalId": text("rcu", nullable=True),
        "schemaVersion": text(also={"service": "rcu"}, default=""),
        "uiUrl": text("rcu", nullable=True, schedule_update=True),
        "url": text("rcu", required=True, schedule_update=True),
    },
    actions={
        "create": Action(
            roles=(
                "user",
                "admin",
                "readAdmin",
                "superadmin",
            )
        ),
    },
    access=by_workers("LR") | allow(*WORKERS, actions=()) | allow("admin", "service", methods="LCRUD"),
)

BASE_MACHINE_CONFIG = resource(
    "baseMachineConfig",
    access=by_workers("R", "R"),
)

DYNAMIC_SCHEMA = resource(
    "dynamicSchema",
    columns=standard("removeTime", accountId=ref("account", "rc"), data=SMALL_DATA)
    | {
        "definition": text("rc", max_length=MEDIUM_TEXT),
        "parent": text("rc"),
        "serviceId": ref("service"),
    },
    fields={
        "roles": typed("array[string]", "rc"),
    },
    nullable=True,
    access=by_nobody() | allow("service", methods="LCRD"),
)

DYNAMIC_SCHEMA_ROLE = resource(
    "dynamicSchemaRole",
    columns={
        "dynamicSchemaId": ref("dynamicSchema"),
        "id": number(max_length=None),
        "role": text(),
    },
)

TYPES = (
    PHYSICAL_HOST,
    MACHINE,
    MACHINE_DRIVER,
    BASE_MACHINE_CONFIG,
    DYNAMIC_SCHEMA,
    DYNAMIC_SCHEMA_ROLE,
)
