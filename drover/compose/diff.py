"""What an `up` has to change on a service that exists.

Fingerprints decide where both sides have them. A service made in the UI has none; it is compared field by field over
what the file sets, so that the first `up --upgrade` does not replace containers for nothing (which Rancher 1.6 did).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from drover.compose.check import SIDEKICKS_LABEL
from drover.compose.convert import Kind, ServicePlan
from drover.compose.hash import HASH_KEY, is_unset, launch_config_hash
from drover.compose.nodes import scalar_text
from drover.compose.references import Body

_SERVICE_FIELDS_LEFT_OUT = frozenset({"launchConfig", "secondaryLaunchConfigs", "scale", "name", "startOnCreate"})
#: What a PUT must name to take it away again.
_RESETTABLE = (
    "description",
    "scalePolicy",
    "retainIp",
    "selectorLink",
    "selectorContainer",
    "lbConfig",
    "externalIpAddresses",
    "hostname",
    "healthCheck",
    "storageDriver",
    "networkDriver",
)
_PORT_FIELDS = frozenset({"ports", "expose"})


class ServiceChange(msgspec.Struct, frozen=True, kw_only=True):
    """The difference between a live service and its file.

    `service` asks for a PUT; `primary` and the sidekick names for an upgrade (new containers). `scale` is the number to
    set, or None. `details` lists changed fields for a person to read, such as `launchConfig.imageUuid: a -> b`.
    """

    service: bool
    primary: bool
    sidekicks_changed: tuple[str, ...] = ()
    sidekicks_added: tuple[str, ...] = ()
    sidekicks_removed: tuple[str, ...] = ()
    scale: int | None = None
    details: tuple[str, ...] = ()

    @property
    def needs_upgrade(self) -> bool:
        """Whether containers must be replaced."""
        return bool(self.primary or self.sidekicks_changed or self.sidekicks_added or self.sidekicks_removed)

    def __bool__(self) -> bool:
        return self.service or self.needs_upgrade or self.scale is not None


def diff_service(
    plan: ServicePlan, live: Mapping[str, Any], *, body: Body | None = None, deployed_scale: int | None = None
) -> ServiceChange:
    """Compare a plan with the service resource `live`.

    `body` is the plan's body with references resolved (default: as it is, which is enough without references).
    `deployed_scale` is the scale the file had at the last deploy; only a number that changed in the file since then
    overrides what was set by hand (three-way comparison). Without it the live number stays.

    External and DNS services have no containers: for them only `service` can be true.
    """
    wanted = body if body is not None else plan.body
    live_primary = live.get("launchConfig") or {}
    live_sidekicks = {config["name"]: config for config in live.get("secondaryLaunchConfigs") or ()}
    sidekicks = {config["name"]: config for config in wanted["secondaryLaunchConfigs"]}
    known = [name for name in sidekicks if name in live_sidekicks]
    has_containers = plan.kind not in (Kind.EXTERNAL, Kind.DNS)
    return ServiceChange(
        service=_service_differs(wanted, live),
        primary=has_containers and _config_differs(wanted["launchConfig"], live_primary),
        sidekicks_changed=tuple(name for name in known if _config_differs(sidekicks[name], live_sidekicks[name])),
        sidekicks_added=tuple(name for name in sidekicks if name not in live_sidekicks),
        sidekicks_removed=tuple(name for name in live_sidekicks if name not in sidekicks),
        scale=_scale(plan, live, deployed_scale),
        details=tuple(_details(wanted, live)),
    )


def upgrade_launch_configs(change: ServiceChange, body: Body) -> Body:
    """The launch configs for the strategy of the action `upgrade`: only those that change.

    A removed sidekick is named with the image `rancher/none`, as the API expects.
    """
    strategy: Body = {}
    if change.primary:
        strategy["launchConfig"] = body["launchConfig"]
    changed = {*change.sidekicks_changed, *change.sidekicks_added}
    secondary = [config for config in body["secondaryLaunchConfigs"] if config["name"] in changed]
    secondary += [{"name": name, "imageUuid": "rancher/none"} for name in change.sidekicks_removed]
    if secondary:
        strategy["secondaryLaunchConfigs"] = secondary
    return strategy


def update_body(body: Body, live: Mapping[str, Any]) -> Body:
    """The body of a PUT that gives the service what its file says, and takes away what the file no longer says.

    `body` is the plan's body with references resolved. Launch configs and scale are not part of it: containers change
    by an upgrade, and the scale by `ServiceChange.scale`.
    """
    update = _service_part(body)
    for field in _RESETTABLE:
        if field not in update and not is_unset(live.get(field)):
            update[field] = False if live[field] is True else None
    return update


def _service_differs(wanted: Body, live: Mapping[str, Any]) -> bool:
    fingerprint = (live.get("metadata") or {}).get(HASH_KEY)
    if fingerprint:
        return bool(fingerprint != wanted["metadata"][HASH_KEY])
    return any(True for _ in _differences(_service_part(wanted), live, ""))


def _config_differs(wanted: Body, live: Mapping[str, Any]) -> bool:
    fingerprint = (live.get("labels") or {}).get(HASH_KEY)
    if not fingerprint:
        return any(True for _ in _differences(wanted, live, ""))
    if fingerprint == wanted["labels"].get(HASH_KEY, launch_config_hash(wanted)):
        return False
    return bool(fingerprint != launch_config_hash(_with_sidekicks_of(wanted, live)))


def _with_sidekicks_of(wanted: Body, live: Mapping[str, Any]) -> Body:
    """The config as if it had the live one's sidekicks: which there are is no reason to replace the primary."""
    labels = {key: value for key, value in wanted["labels"].items() if key != SIDEKICKS_LABEL}
    if SIDEKICKS_LABEL in live["labels"]:
        labels[SIDEKICKS_LABEL] = live["labels"][SIDEKICKS_LABEL]
    return {**wanted, "labels": labels}


def _scale(plan: ServicePlan, live: Mapping[str, Any], deployed: int | None) -> int | None:
    if plan.scale is None or deployed is None or plan.scale == deployed or plan.scale <= 0:
        return None
    return plan.scale if live.get("scale") != plan.scale else None


def _details(wanted: Body, live: Mapping[str, Any]) -> Iterator[str]:
    yield from _differences(_service_part(wanted), live, "")
    yield from _differences(wanted["launchConfig"], live.get("launchConfig") or {}, "launchConfig.")
    live_sidekicks = {config["name"]: config for config in live.get("secondaryLaunchConfigs") or ()}
    for config in wanted["secondaryLaunchConfigs"]:
        if config["name"] in live_sidekicks:
            yield from _differences(config, live_sidekicks[config["name"]], f"{config['name']}.")
        else:
            yield f"{config['name']}: new sidekick"
    names = {config["name"] for config in wanted["secondaryLaunchConfigs"]}
    yield from (f"{name}: sidekick removed" for name in live_sidekicks if name not in names)


def _service_part(body: Body) -> Body:
    return {key: value for key, value in body.items() if key not in _SERVICE_FIELDS_LEFT_OUT}


def _differences(wanted: Mapping[str, Any], live: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Fields in which `live` is not what `wanted` says; fields that only `live` has are the server's defaults."""
    for key, value in wanted.items():
        if key == HASH_KEY:
            continue
        present = live.get(key)
        if isinstance(value, Mapping) and isinstance(present, Mapping):
            yield from _differences(value, present, f"{prefix}{key}.")
            if key in ("environment", "labels"):
                gone = (name for name in present if name not in value and not name.startswith("io.rancher."))
                yield from (f"{prefix}{key}.{name}: removed" for name in gone)
        elif key in _PORT_FIELDS and _ports(value) == _ports(present):
            continue
        elif not _same(value, present):
            yield f"{prefix}{key}: {_show(key, present)} -> {_show(key, value)}"


def _ports(value: Any) -> list[str]:
    """Ports without the default protocol, which the server may have added."""
    return [str(port).removesuffix("/tcp") for port in value or ()]


def _same(wanted: Any, live: Any) -> bool:
    if is_unset(wanted) and is_unset(live):
        return True
    if isinstance(wanted, list | tuple) and isinstance(live, list | tuple):
        return len(wanted) == len(live) and all(_same(*pair) for pair in zip(wanted, live, strict=True))
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        return not any(True for _ in _differences(wanted, live, ""))
    if isinstance(wanted, str | int | float) and isinstance(live, str | int | float):
        return scalar_text(wanted) == scalar_text(live)
    return bool(wanted == live)


def _show(key: str, value: Any) -> str:
    """A value for a person; what may be a password is not shown."""
    if value is None:
        return "(none)"
    if any(word in key.lower() for word in ("password", "secret", "token", "key")):
        return "(hidden)"
    text = scalar_text(value) if isinstance(value, str | int | float | bool) else str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
