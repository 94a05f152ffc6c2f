"""What holds for every description of a container: of a container itself, of a service, of an upgrade.

One function judges them all, so that no path to a container has other rules than the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drover.placement.ports import PortError, PortSpec, parse_port
from drover.server.api.call import Call
from drover.server.api.errors import invalid

NO_IMAGE = "rancher/none"
VOLUME_CLEANUP_LABEL = "io.rancher.container.volume_cleanup_strategy"

_SCHEMES = ("docker:", "sim:")
_CLEANUP_STRATEGIES = ("none", "unnamed", "all")
_MOST_PORTS = 1000
_LONGEST_IMAGE = 255


def check_launch_config(call: Call, config: dict[str, Any]) -> None:
    """Judge and normalise one launch config in place: image, ports, volumes, labels. Raises ApiError."""
    image = config.get("imageUuid")
    if image:
        config["imageUuid"] = checked_image(call, str(image))
    if config.get("ports"):
        config["ports"] = checked_ports(config["ports"])
    for volume in config.get("dataVolumes") or ():
        _check_volume(str(volume))
    _check_labels(config.get("labels") or {})
    _check_health_check(config.get("healthCheck"))
    _check_memory(config)


def has_image(config: Mapping[str, Any] | None) -> bool:
    image = str((config or {}).get("imageUuid") or "")
    return bool(image) and image.removeprefix("docker:") != NO_IMAGE


def checked_image(call: Call, image: str) -> str:
    """The image with its scheme, with the default registry where it names none, if its registry is allowed."""
    text = image.strip()
    scheme = next((each for each in _SCHEMES if text.startswith(each)), "docker:")
    name = text.removeprefix(scheme)
    if not name or len(name) > _LONGEST_IMAGE or any(char.isspace() for char in name) or name.startswith("-"):
        raise invalid(
            "InvalidOption", "imageUuid", "imageUuid must name an image, such as docker:nginx:1.27", detail=image[:80]
        )
    if scheme == "sim:" or name == NO_IMAGE:
        return scheme + name
    settings = call.context.settings
    registry = _registry_of(name)
    default = settings.get("registry.default").strip()
    if registry is None and default:
        name, registry = f"{default}/{name}", default
    allowed = [each.strip() for each in settings.get("registry.whitelist").split(",") if each.strip()]
    if allowed and (registry or "index.docker.io") not in allowed:
        raise invalid(
            "InvalidOption",
            "imageUuid",
            f"Images may be taken only from: {', '.join(allowed)}",
            detail=f"{image[:80]} comes from {registry or 'index.docker.io'}",
        )
    return scheme + name


def _registry_of(name: str) -> str | None:
    """The host before the first slash, if what stands there is a host."""
    first, slash, _ = name.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else None


def checked_ports(specs: list[Any]) -> list[str]:
    """The port specifications, ranges written out one by one."""
    shown: list[str] = []
    for spec in specs:
        try:
            shown.extend(_single_ports(parse_port(str(spec)), str(spec)))
        except PortError as error:
            raise invalid(error.code, "ports", str(error)) from error
        if len(shown) > _MOST_PORTS:
            raise invalid("InvalidOption", "ports", f"A container may publish at most {_MOST_PORTS} ports")
    return shown


def _single_ports(port: PortSpec, text: str) -> list[str]:
    first, last = port.private
    if first == last:
        return [text.strip()]
    address = "" if port.address is None else (f"[{port.address}]:" if ":" in port.address else f"{port.address}:")
    shift = None if port.public is None else port.public[0] - first
    return [
        f"{address}{'' if shift is None else f'{private + shift}:'}{private}/{port.protocol}"
        for private in range(first, last + 1)
    ]


def _check_volume(volume: str) -> None:
    parts = volume.split(":")
    target = parts[0] if len(parts) == 1 else parts[1]
    windows = len(parts) > 1 and (len(parts[0]) == 1 or target.startswith("\\"))
    if not windows and not target.startswith("/"):
        raise invalid(
            "InvalidOption",
            "dataVolumes",
            "A volume is written /path or name:/path or /host/path:/path[:ro]",
            detail=volume[:80],
        )


def _check_labels(labels: Mapping[str, Any]) -> None:
    strategy = labels.get(VOLUME_CLEANUP_LABEL)
    if strategy is not None and strategy not in _CLEANUP_STRATEGIES:
        options = ", ".join(_CLEANUP_STRATEGIES)
        raise invalid("InvalidOption", VOLUME_CLEANUP_LABEL, f"{VOLUME_CLEANUP_LABEL} must be one of: {options}")


def _check_health_check(check: Mapping[str, Any] | None) -> None:
    if check and check.get("port") is not None and not 1 <= int(check["port"]) <= 65535:
        raise invalid("InvalidOption", "healthCheck", "The port of a health check must be from 1 to 65535")


def _check_memory(config: Mapping[str, Any]) -> None:
    limit, reserved = config.get("memory"), config.get("memoryReservation")
    if limit and reserved and reserved > limit:
        raise invalid(
            "InvalidOption", "memoryReservation", "memoryReservation may not be larger than memory, the limit"
        )
