"""Which states resources go through: every process, as a transition on a declared state machine.

Most types share one life: created inactive, activated, deactivated, removed and purged; others say each step
themselves. A process may start from its start states and again from its own transitioning states.

Source: the processes of Rancher 1.6 (cattle v0.183).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from drover.server.resources.model import Process


@dataclass(frozen=True, slots=True)
class Step:
    """A process before it belongs to a type. ``via``: start -> transitioning state; ``done``: transitioning -> end."""

    name: str
    via: Mapping[str, str]
    done: Mapping[str, str]
    field: str = "state"
    delegate: str | None = None


def step(
    name: str, start: str, via: str, done: str | Mapping[str, str], field: str = "state", delegate: str | None = None
) -> Step:
    """A process with one transitioning state; ``start`` names its start states, separated by blanks."""
    after = {via: done} if isinstance(done, str) else done
    return Step(name, dict.fromkeys(start.split(), via), after, field, delegate)


UPDATE = Step(
    "update",
    {"inactive": "updating-inactive", "active": "updating-active"},
    {"updating-inactive": "inactive", "updating-active": "active"},
)
LIFE = (
    step("create", "requested", "registering", "inactive", delegate="activate"),
    step("activate", "inactive registering", "activating", "active"),
    step(
        "deactivate",
        "requested registering active activating updating-active updating-inactive",
        "deactivating",
        "inactive",
    ),
    step("remove", "requested inactive registering updating-active updating-inactive", "removing", "removed"),
    step("purge", "removed", "purging", "purged"),
    UPDATE,
)


def machine(resource_type: str, *steps: Step) -> Iterable[Process]:
    """The processes of a type that says each of its steps."""
    prefix = resource_type.lower()
    for item in steps:
        yield Process(
            name=f"{prefix}.{item.name}",
            resource_type=resource_type,
            transitioning=item.via,
            done=item.done,
            state_field=item.field,
            delegate=f"{prefix}.{item.delegate}" if item.delegate else None,
        )


def lifecycle(resource_type: str, *changed: Step, without: tuple[str, ...] = ()) -> Iterable[Process]:
    """The processes of a type with the usual life, some of them changed, added or left out."""
    steps = {item.name: item for item in (*LIFE, *changed) if item.name not in without}
    return machine(resource_type, *steps.values())


_DECLARED: tuple[Process, ...] = (
    *lifecycle(
        "account",
        step("upgrade", "active", "upgrading", "active"),
    ),
    *lifecycle("agentgroup"),
    *lifecycle("credentialInstanceMap"),
    *machine(
        "genericObject",
        step("create", "requested", "activating", "active"),
        step("remove", "requested active activating", "removing", "removed"),
    ),
    *lifecycle("hostIpAddressMap"),
    *lifecycle("image"),
    *lifecycle("imageStoragePoolMap"),
    *lifecycle("instanceHostMap"),
    *lifecycle("instanceLink"),
    *lifecycle("ipAddressNicMap"),
    *lifecycle("ipAssociation"),
    *lifecycle("ipPool"),
    *lifecycle("network"),
    *lifecycle("nic"),
    *lifecycle("port"),
    *lifecycle("projectMember"),
    *lifecycle("storagePool"),
    *lifecycle("subnet"),
    *lifecycle("zone"),
    *lifecycle("serviceIndex"),
    *lifecycle("volumeTemplate"),
    *lifecycle("accountLink"),
    *lifecycle("region"),
    *lifecycle(
        "volumeStoragePoolMap",
        without=("purge",),
    ),
    *lifecycle(
        "host",
        step("activate", "inactive registering provisioned", "activating", "active"),
        step(
            "remove",
            "erroring error requested inactive activating deactivating registering "
            "updating-active updating-inactive provisioning",
            "removing",
            "removed",
        ),
        step("provision", "inactive", "provisioning", "provisioned"),
        step("error", "provisioning", "erroring", "error"),
    ),
    *lifecycle(
        "ipAddress",
        step("associate", "active", "associating", "associated"),
        step("disassociate", "associating associated", "disassociating", "active"),
    ),
    *lifecycle(
        "agent",
        step(
            "remove",
            "disconnecting disconnected requested inactive registering updating-active "
            "updating-inactive reconnected finishing-reconnect",
            "removing",
            "removed",
        ),
        step(
            "deactivate",
            "disconnecting disconnected active activating reconnecting updating-active "
            "updating-inactive reconnected finishing-reconnect",
            "deactivating",
            "inactive",
        ),
        step(
            "reconnect",
            "disconnecting disconnected active activating",
            "reconnecting",
            "reconnected",
            delegate="finishreconnect",
        ),
        step("finishreconnect", "reconnected reconnecting", "finishing-reconnect", "active"),
        step("disconnect", "reconnecting active reconnected finishing-reconnect", "disconnecting", "disconnected"),
    ),
    *lifecycle("credential"),
    *machine(
        "instance",
        step("create", "requested", "creating", "stopped", delegate="start"),
        step("start", "stopped creating", "starting", "running"),
        step("stop", "creating running starting restarting updating-running updating-stopped", "stopping", "stopped"),
        step(
            "remove",
            "requested creating updating-running updating-stopped stopped erroring error",
            "removing",
            "removed",
        ),
        step("purge", "removed", "purging", "purged"),
        Step(
            "update",
            {"stopped": "updating-stopped", "running": "updating-running"},
            {"updating-stopped": "stopped", "updating-running": "running"},
        ),
        step("migrate", "running", "migrating", "running"),
        step("allocate", "inactive", "activating", "active", field="allocationState"),
        step("deallocate", "activating active", "deactivating", "inactive", field="allocationState"),
        step("restart", "running", "restarting", "running"),
        step(
            "updatehealthy",
            "healthy unhealthy initializing reinitializing",
            "updating-healthy",
            "healthy",
            field="healthState",
        ),
        step("updateunhealthy", "healthy unhealthy", "updating-unhealthy", "unhealthy", field="healthState"),
        step("updatereinitializing", "healthy", "updating-reinitializing", "reinitializing", field="healthState"),
        step("error", "creating stopped", "erroring", "error"),
    ),
    *lifecycle(
        "volume",
        step(
            "deactivate",
            "requested registering creating active activating updating-active updating-inactive",
            "deactivating",
            {"deactivating": "detached", "activating": "inactive"},
        ),
        step(
            "remove",
            "requested inactive detached deactivating registering updating-active updating-inactive",
            "removing",
            "removed",
        ),
        step("activate", "inactive registering detached", "activating", "active"),
        step("allocate", "inactive", "activating", "active", field="allocationState"),
        step("deallocate", "activating active", "deactivating", "inactive", field="allocationState"),
        Step(
            "reverttosnapshot",
            {"active": "reverting-active", "inactive": "reverting-inactive"},
            {"reverting-active": "active", "reverting-inactive": "inactive"},
        ),
        Step(
            "restorefrombackup",
            {"active": "restoring-active", "inactive": "restoring-inactive"},
            {"restoring-active": "active", "restoring-inactive": "inactive"},
        ),
    ),
    *machine(
        "snapshot",
        step("create", "requested", "creating", "created"),
        step("remove", "creating created", "removing", "removed"),
    ),
    *machine(
        "backup",
        step("create", "requested", "creating", "created"),
        step("remove", "creating created", "removing", "removed"),
    ),
    *machine(
        "backupTarget",
        step("create", "requested", "creating", "created"),
        step("remove", "creating created", "removing", "removed"),
    ),
    *lifecycle(
        "networkDriver",
        step("create", "requested", "creating", "active"),
        step("activate", "requested inactive", "activating", "active"),
        step("deactivate", "activating active", "deactivating", "inactive"),
        step("remove", "requested creating inactive active", "removing", "removed"),
        step("update", "active inactive", "updating", "active"),
        without=("purge",),
    ),
    *lifecycle(
        "storageDriver",
        step("create", "requested", "creating", "active"),
        step("activate", "requested inactive", "activating", "active"),
        step("deactivate", "activating active", "deactivating", "inactive"),
        step("remove", "requested creating inactive active", "removing", "removed"),
        step("update", "active inactive", "updating", "active"),
        without=("purge",),
    ),
    *machine(
        "mount",
        step("create", "requested", "activating", "active"),
        step("deactivate", "requested active activating", "deactivating", "inactive"),
        step("remove", "inactive deactivating", "removing", "removed"),
    ),
    *machine(
        "projectTemplate",
        step("create", "requested", "activating", "active"),
        step("remove", "requested activating active", "removing", "removed"),
    ),
    *machine(
        "physicalHost",
        step("create", "requested", "creating", "created", delegate="bootstrap"),
        step("bootstrap", "created creating", "bootstrapping", "active"),
        step("remove", "active requested bootstrapping creating updating error erroring", "removing", "removed"),
        step("update", "active", "updating", "active"),
        step("error", "creating bootstrapping updating", "erroring", "error"),
    ),
    *machine(
        "stack",
        step("create", "requested", "activating", "active"),
        step("update", "active", "updating-active", "active"),
        step(
            "remove",
            "requested active activating updating-active error erroring upgrading "
            "canceling-upgrade rolling-back finishing-upgrade upgraded canceled-upgrade",
            "removing",
            "removed",
        ),
        step("error", "activating", "erroring", "error"),
        step("upgrade", "active canceled-upgrade", "upgrading", "upgraded"),
        step("cancelupgrade", "upgrading finishing-upgrade", "canceling-upgrade", "canceled-upgrade"),
        step("rollback", "upgrading upgraded canceled-upgrade", "rolling-back", "active"),
        step("finishupgrade", "upgraded", "finishing-upgrade", "active"),
    ),
    *lifecycle(
        "service",
        step("create", "requested", "registering", "inactive"),
        step("activate", "inactive restarting", "activating", "active"),
        Step(
            "update",
            {
                "inactive": "updating-inactive",
                "active": "updating-active",
                "updating-active": "updating-active",
                "finishing-upgrade": "finishing-upgrade",
                "activating": "activating",
                "canceling-upgrade": "canceling-upgrade",
                "upgrading": "upgrading",
                "rolling-back": "rolling-back",
            },
            {
                "updating-inactive": "inactive",
                "updating-active": "active",
                "finishing-upgrade": "active",
                "activating": "active",
                "canceling-upgrade": "canceled-upgrade",
                "upgrading": "upgraded",
                "rolling-back": "active",
            },
        ),
        step(
            "deactivate", "restarting active activating updating-inactive updating-active", "deactivating", "inactive"
        ),
        step(
            "remove",
            "inactive registering active activating updating-inactive updating-active upgrading "
            "canceling-upgrade rolling-back deactivating requested canceled-upgrade upgraded "
            "finishing-upgrade restarting",
            "removing",
            "removed",
        ),
        step("upgrade", "active activating inactive updating-active", "upgrading", "upgraded"),
        step("continueupgrade", "canceled-upgrade", "upgrading", "upgraded"),
        step("cancelupgrade", "upgrading finishing-upgrade", "canceling-upgrade", "canceled-upgrade"),
        step("rollback", "upgrading upgraded canceled-upgrade", "rolling-back", "active"),
        step("finishupgrade", "upgraded", "finishing-upgrade", "active"),
        step("restart", "active", "restarting", "active"),
        without=("purge",),
    ),
    *machine(
        "serviceExposeMap",
        step("create", "requested", "activating", "active"),
        step("remove", "active activating requested", "removing", "removed"),
    ),
    *machine(
        "serviceConsumeMap",
        step("create", "requested", "activating", "active"),
        step("remove", "active activating updating-active", "removing", "removed"),
        step("update", "active activating", "updating-active", "active"),
    ),
    *machine(
        "healthcheckInstance",
        step("create", "requested", "activating", "active"),
        step("remove", "active activating", "removing", "removed"),
    ),
    *machine(
        "healthcheckInstanceHostMap",
        step("create", "requested", "activating", "active"),
        step("remove", "active activating", "removing", "removed"),
    ),
    *machine(
        "containerEvent",
        step("create", "requested", "creating", "created"),
        step("remove", "created creating", "removing", "removed"),
    ),
    *machine(
        "externalEvent",
        step("create", "requested", "creating", "created"),
        step("remove", "created creating", "removing", "removed"),
    ),
    *machine(
        "label",
        step("create", "requested", "creating", "created"),
        step("remove", "created creating", "removing", "removed"),
    ),
    *machine(
        "secret",
        step("create", "requested", "creating", "active"),
        step("remove", "active creating", "removing", "removed"),
    ),
    *machine(
        "hostLabelMap",
        step("create", "requested", "creating", "created"),
        step("remove", "created creating", "removing", "removed"),
    ),
    *machine(
        "instanceLabelMap",
        step("create", "requested", "creating", "created"),
        step("remove", "created creating", "removing", "removed"),
    ),
    *machine(
        "serviceEvent",
        step("create", "requested", "creating", "created"),
        step("remove", "created creating", "removing", "removed"),
    ),
    *lifecycle(
        "userPreference",
        step("remove", "inactive active", "removing", "removed"),
    ),
    *machine(
        "certificate",
        step("create", "requested", "activating", "active"),
        step("remove", "requested active activating", "removing", "removed"),
        step("update", "active", "updating-active", "active"),
    ),
    *machine(
        "storagePoolHostMap",
        step("create", "requested", "activating", "active"),
        step("remove", "requested active activating", "removing", "removed"),
    ),
    *lifecycle(
        "machineDriver",
        step("reactivate", "active error", "activating", "active"),
        step("error", "active activating updating-active updating-inactive", "erroring", "error"),
        step(
            "deactivate",
            "active activating updating-active updating-inactive",
            "deactivating",
            "inactive",
            delegate="remove",
        ),
        step(
            "remove",
            "requested inactive activating deactivating registering updating-active updating-inactive active error",
            "removing",
            "removed",
        ),
        Step(
            "update",
            {"error": "updating-inactive", "inactive": "updating-inactive", "active": "updating-active"},
            {"updating-inactive": "inactive", "updating-active": "active"},
        ),
        without=("purge",),
    ),
    *machine(
        "dynamicSchema",
        step("create", "requested", "creating", "active"),
        step("remove", "active", "removing", "purged"),
    ),
    *machine(
        "hostTemplate",
        step("create", "requested", "activating", "active"),
        step("remove", "activating active", "removing", "removed"),
    ),
    *machine(
        "scheduledUpgrade",
        step("create", "requested", "scheduling", "scheduled"),
        step("start", "scheduled", "running", "done"),
        step("remove", "scheduled running done", "removing", "removed"),
    ),
    *lifecycle("externalHandler"),
    *lifecycle("externalHandlerProcess"),
    *lifecycle("externalHandlerExternalHandlerProcessMap"),
)

PROCESSES: Mapping[str, Process] = MappingProxyType({item.name: item for item in _DECLARED})

# Types whose create goes on to activate without being asked.
AUTO_ACTIVATED = frozenset(
    {
        "account",
        "agent",
        "credential",
        "externalHandler",
        "externalHandlerExternalHandlerProcessMap",
        "externalHandlerProcess",
        "hostIpAddressMap",
        "image",
        "ipAddress",
        "ipAddressNicMap",
        "ipPool",
        "network",
        "networkServiceProvider",
        "networkServiceProviderInstanceMap",
        "physicalHost",
        "projectMember",
        "register",
        "storagePool",
        "subnet",
        "userPreference",
    }
)

_BY_TYPE: dict[str, list[Process]] = defaultdict(list)
for _process in _DECLARED:
    _BY_TYPE[_process.resource_type].append(_process)


def processes_of(resource_type: str) -> tuple[Process, ...]:
    """The processes of a base type, in the order of their declaration."""
    return tuple(_BY_TYPE.get(resource_type, ()))


def states_of(resource_type: str, field: str = "state") -> frozenset[str]:
    """Every state that the processes of a base type lead from, through or to."""
    states: set[str] = set()
    for process in processes_of(resource_type):
        if process.state_field == field:
            states.update(process.transitioning, process.transitioning.values(), process.done, process.done.values())
    return frozenset(states)
