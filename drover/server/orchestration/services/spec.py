"""A service as its reconcile loop reads it: what shall exist, parsed once from the stored resource."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drover.server.store import Record

PRIMARY = ""
PRIMARY_LABEL = "io.rancher.service.primary.launch.config"
GLOBAL_LABEL = "io.rancher.scheduler.global"
START_ONCE_LABEL = "io.rancher.container.start_once"
NO_IMAGE = "rancher/none"
DEPLOYS = frozenset({"service", "loadBalancerService", "networkDriverService", "storageDriverService"})
ACTIVE_STATES = frozenset(
    {
        "activating",
        "active",
        "updating-active",
        "upgrading",
        "rolling-back",
        "canceling-upgrade",
        "canceled-upgrade",
        "finishing-upgrade",
        "upgraded",
        "restarting",
    }
)


@dataclass(frozen=True, slots=True)
class LaunchConfig:
    """One container of a unit. ``name`` is empty for the primary, else the sidekick's."""

    name: str
    fields: Mapping[str, Any]
    depends_on: frozenset[str]

    @property
    def version(self) -> str:
        return str(self.fields.get("version") or "0")

    @property
    def labels(self) -> Mapping[str, str]:
        return self.fields.get("labels") or {}

    @property
    def start_once(self) -> bool:
        return _is_true(self.labels.get(START_ONCE_LABEL))

    @property
    def deploys(self) -> bool:
        image = str(self.fields.get("imageUuid") or "").removeprefix("docker:")
        return bool(image) and image != NO_IMAGE


@dataclass(frozen=True, slots=True)
class ScalePolicy:
    """How a service grows by itself: from ``minimum`` by ``increment`` to ``maximum``."""

    minimum: int
    maximum: int
    increment: int


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """What a service asks for. ``scale`` counts units; a global service has one on each matching host instead."""

    record: Record
    stack: Record
    configs: tuple[LaunchConfig, ...]
    scale: int
    is_global: bool
    policy: ScalePolicy | None
    health_strategy: str
    health_quorum: int
    start_first: bool

    @property
    def id(self) -> int:
        return self.record.id

    @property
    def account_id(self) -> int:
        return int(self.record["accountId"])

    @property
    def name(self) -> str:
        return str(self.record.name)

    @property
    def stack_name(self) -> str:
        return str(self.stack.name)

    @property
    def active(self) -> bool:
        return self.record.state in ACTIVE_STATES

    def config(self, name: str) -> LaunchConfig | None:
        return next((config for config in self.configs if config.name == name), None)

    def dependants(self, names: set[str]) -> set[str]:
        """The launch configs that need one of ``names`` (volumes or network), transitively, with ``names`` itself."""
        found = set(names)
        while True:
            more = {c.name for c in self.configs if c.name not in found and c.depends_on & found}
            if not more:
                return found
            found |= more


def parse_service(record: Record, stack: Record) -> ServiceSpec:
    """Read a service record. Kinds that deploy nothing (aliases, external services, selectors) have no configs."""
    configs = _configs(record) if record.kind in DEPLOYS else ()
    health = (configs[0].fields.get("healthCheck") or {}) if configs else {}
    quorum = (health.get("recreateOnQuorumStrategyConfig") or {}).get("quorum")
    strategy = (record["upgrade"] or {}).get("inServiceStrategy") or {}
    policy = _policy(record["scalePolicy"])
    scale = record["scale"]
    wanted = 1 if scale is None else int(scale)
    if policy is not None:
        wanted = min(max(int(record["desiredScale"] or policy.minimum), 1), policy.maximum)
    return ServiceSpec(
        record=record,
        stack=stack,
        configs=configs,
        scale=wanted,
        is_global=any(_is_true(config.labels.get(GLOBAL_LABEL)) for config in configs),
        policy=policy,
        health_strategy=str(health.get("strategy") or "recreate"),
        health_quorum=int(quorum or 1),
        start_first=bool(strategy.get("startFirst")),
    )


def _configs(record: Record) -> tuple[LaunchConfig, ...]:
    primary = record["launchConfig"] or {}
    sidekicks: list[dict[str, Any]] = record["secondaryLaunchConfigs"] or []
    own_name = str(record.name or "").lower()
    found = [LaunchConfig(PRIMARY, primary, _dependencies(primary, own_name))]
    found.extend(LaunchConfig(str(each["name"]), each, _dependencies(each, own_name)) for each in sidekicks)
    deployed = tuple(config for config in found if config.deploys)
    return deployed if found[0].deploys else ()


def _dependencies(fields: Mapping[str, Any], own_name: str) -> frozenset[str]:
    names = list(fields.get("dataVolumesFromLaunchConfigs") or [])
    if fields.get("networkLaunchConfig"):
        names.append(fields["networkLaunchConfig"])
    return frozenset(PRIMARY if str(name).lower() == own_name else str(name) for name in names)


def _policy(value: Mapping[str, Any] | None) -> ScalePolicy | None:
    if not value:
        return None
    minimum = int(value.get("min") or 1)
    return ScalePolicy(minimum, int(value.get("max") or minimum), int(value.get("increment") or 1))


def _is_true(value: Any) -> bool:
    return str(value).strip().lower() == "true"
