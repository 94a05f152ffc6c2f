"""Snapshots and backups of volumes."""

from __future__ import annotations

from drover.server.resources.access import allow, by_workers
from drover.server.resources.declare import SMALL_DATA, kind, ref, resource, standard, text, typed, words
from drover.server.resources.model import Action

SNAPSHOT = resource(
    "snapshot",
    columns=standard()
    | {
        "volumeId": ref("volume", "r", nullable=False, required=True),
    },
    actions={
        "backup": Action(input="snapshotBackupInput", output="backup", only_states=words("created")),
    },
    access=by_workers("LRD"),
)

BACKUP = resource(
    "backup",
    columns=standard(data=SMALL_DATA)
    | {
        "backupTargetId": ref("backupTarget", "r"),
        "snapshotId": ref("snapshot", "r"),
        "uri": text("r", max_length=4096),
        "volumeId": ref("volume", "r"),
    },
    access=by_workers("LRD"),
)

SNAPSHOT_BACKUP_INPUT = kind(
    "snapshotBackupInput",
    BACKUP,
    columns={
        "backupTargetId": ref("backupTarget", "rc", nullable=False, required=True),
    },
    letters={
        "": words(
            "accountId created description id kind removed snapshotId state transitioning "
            "transitioningMessage transitioningProgress uri uuid volumeId"
        ),
        "rc": words("name"),
    },
    access=by_workers("R", "R")
    | allow("owner", "member", "project", "projectadmin", "environment", "restricted", "user", methods="R", actions=()),
    stored=False,
)

BACKUP_TARGET = resource(
    "backupTarget",
    columns=standard(
        name=text("rcu", nullable=False, required=True, min_length=1, valid_chars="a-zA-Z0-9_.-"), data=SMALL_DATA
    ),
    fields={
        "nfsConfig": typed("nfsConfig", "rc"),
    },
    nullable=True,
    access=by_workers("LCRD"),
)

VOLUME_SNAPSHOT_INPUT = resource(
    "volumeSnapshotInput",
    fields={
        "name": text("rc", max_length=255),
    },
    access=by_workers("R", "R"),
)

VOLUME_ACTIVATE_INPUT = resource(
    "volumeActivateInput",
    fields={
        "hostId": typed("reference", "rc"),
    },
    nullable=True,
    access=by_workers("CR", "R"),
)

RESTORE_FROM_BACKUP_INPUT = resource(
    "restoreFromBackupInput",
    fields={
        "backupId": ref("backup", "rc", required=True),
    },
    access=by_workers("R", "R"),
)

REVERT_TO_SNAPSHOT_INPUT = resource(
    "revertToSnapshotInput",
    fields={
        "snapshotId": ref("snapshot", "rc", required=True),
    },
    access=by_workers("R", "R"),
)

TYPES = (
    SNAPSHOT,
    BACKUP,
    SNAPSHOT_BACKUP_INPUT,
    BACKUP_TARGET,
    VOLUME_SNAPSHOT_INPUT,
    VOLUME_ACTIVATE_INPUT,
    RESTORE_FROM_BACKUP_INPUT,
    REVERT_TO_SNAPSHOT_INPUT,
)
