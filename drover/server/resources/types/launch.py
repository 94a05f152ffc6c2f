"""How a container is to be started: launch configurations and what is embedded in them."""

from __future__ import annotations

from drover.server.resources.access import NOBODY, allow, by_everyone, by_workers
from drover.server.resources.declare import SEARCHABLE, choice, flag, kind, number, resource, text, typed, words
from drover.server.resources.model import Action
from drover.server.resources.types.instances import CONTAINER

LAUNCH_CONFIG = kind(
    "launchConfig",
    CONTAINER,
    columns={
        "kind": choice("container virtualMachine", "rc", nullable=True, default="container", filters=SEARCHABLE),
    },
    fields={
        "dataVolumesFromLaunchConfigs": typed("array[string]", "rc"),
        "disks": typed("array[virtualMachineDisk]", "rc"),
        "drainTimeoutMs": number("rcu", nullable=False, default=0),
        "networkLaunchConfig": text("rc"),
        "vcpu": number("rc", default=1),
    },
    nullable=True,
    letters={
        "rc": words("memoryMb requestedIpAddress userdata"),
        "": words("name restartPolicy"),
        "rcu": words("ports"),
    },
    actions={
        "logs": Action(input="containerLogs", only_states=words("running stopped stopping"), roles=NOBODY),
    },
    access=by_everyone("CRU", "R"),
    stored=False,
)

SECONDARY_LAUNCH_CONFIG = kind(
    "secondaryLaunchConfig",
    LAUNCH_CONFIG,
    columns={
        "name": text(
            "rc", nullable=False, required=True, unique=True, min_length=1, max_length=63, valid_chars="a-zA-Z0-9-"
        ),
    },
    letters={"": words("drainTimeoutMs")},
    access=by_workers("CRU", "R") | allow("user", "admin", methods="CR"),
)

DOCKER_BUILD = resource(
    "dockerBuild",
    fields={
        "context": text("rc"),
        "dockerfile": text("rc"),
        "forcerm": flag("rc", nullable=False),
        "nocache": flag("rc", nullable=False),
        "remote": text("rc"),
        "rm": flag("rc", nullable=False),
        "tag": text(),
    },
    nullable=True,
    access=by_workers("CR", "R"),
)

BLKIO_DEVICE_OPTION = resource(
    "blkioDeviceOption",
    fields={
        "readBps": number("rc"),
        "readIops": number("rc"),
        "weight": number("rc"),
        "writeBps": number("rc"),
        "writeIops": number("rc"),
    },
    nullable=True,
    access=by_workers("CR", "R"),
)

ULIMIT = resource(
    "ulimit",
    fields={
        "hard": number("rc"),
        "name": text("rc", nullable=False),
        "soft": number("rc"),
    },
    nullable=True,
    access=by_workers("CR", "R"),
)

LOG_CONFIG = resource(
    "logConfig",
    fields={
        "config": typed("map[string]", "rc"),
        "driver": text("rc"),
    },
    nullable=True,
    access=by_workers("CR", "R"),
)

RESTART_POLICY = resource(
    "restartPolicy",
    fields={
        "maximumRetryCount": number("rc"),
        "name": text("rcu"),
    },
    access=by_workers("CR", "R"),
)

TYPES = (
    LAUNCH_CONFIG,
    SECONDARY_LAUNCH_CONFIG,
    DOCKER_BUILD,
    BLKIO_DEVICE_OPTION,
    ULIMIT,
    LOG_CONFIG,
    RESTART_POLICY,
)
