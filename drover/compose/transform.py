"""Docker's inspect JSON as a launch config: the API action `scripts/transform`.

Unmodified clients of Rancher 1.6 send each service through it and hash the answer, so equal input must give an equal
answer: nothing here depends on time, ids or the order of a map.
"""

from collections.abc import Mapping
from typing import Any

from drover.common.errors import DroverError
from drover.compose.launch_config import image_uuid

DISPLAY_NAME_LABEL = "io.rancher.container.display_name"
_PLAIN_MODES = ("bridge", "host", "none")

#: Field of `Config` -> launch config field, value unchanged.
_CONFIG = {
    "Hostname": "hostname",
    "Domainname": "domainName",
    "User": "user",
    "Tty": "tty",
    "OpenStdin": "stdinOpen",
    "WorkingDir": "workingDir",
    "StopSignal": "stopSignal",
    "StopTimeout": "stopTimeout",
    "VolumeDriver": "volumeDriver",
}
#: The same for `HostConfig`.
_HOST_CONFIG = {
    "Privileged": "privileged",
    "PublishAllPorts": "publishAllPorts",
    "Dns": "dns",
    "DnsSearch": "dnsSearch",
    "DnsOptions": "dnsOpt",
    "CapAdd": "capAdd",
    "CapDrop": "capDrop",
    "GroupAdd": "groupAdd",
    "SecurityOpt": "securityOpt",
    "ExtraHosts": "extraHosts",
    "Memory": "memory",
    "MemoryReservation": "memoryReservation",
    "MemorySwap": "memorySwap",
    "MemorySwappiness": "memorySwappiness",
    "KernelMemory": "kernelMemory",
    "ShmSize": "shmSize",
    "CpuShares": "cpuShares",
    "CpuPeriod": "cpuPeriod",
    "CpuQuota": "cpuQuota",
    "CpuRealtimePeriod": "cpuRealtimePeriod",
    "CpuRealtimeRuntime": "cpuRealtimeRuntime",
    "CpusetCpus": "cpuSet",
    "CpusetMems": "cpuSetMems",
    "BlkioWeight": "blkioWeight",
    "CgroupParent": "cgroupParent",
    "OomKillDisable": "oomKillDisable",
    "OomScoreAdj": "oomScoreAdj",
    "Tmpfs": "tmpfs",
    "Sysctls": "sysctls",
    "UTSMode": "uts",
    "IpcMode": "ipcMode",
    "PidMode": "pidMode",
    "Init": "runInit",
    "Isolation": "isolation",
    "ReadonlyRootfs": "readOnly",
}
_RATES = {
    "BlkioDeviceReadIOps": ("readIops", "Rate"),
    "BlkioDeviceWriteIOps": ("writeIops", "Rate"),
    "BlkioDeviceReadBps": ("readBps", "Rate"),
    "BlkioDeviceWriteBps": ("writeBps", "Rate"),
    "BlkioWeightDevice": ("weight", "Weight"),
}
_NANOSECONDS = 1_000_000_000


class TransformError(DroverError):
    """The container cannot be expressed as a launch config. Shown to the client with status 422."""

    code = "InvalidOption"
    status = 422


def transform(container: Mapping[str, Any]) -> dict[str, Any]:
    """The launch config fields of a container in the shape of `docker inspect` (`Name`, `Config`, `HostConfig`).

    Empty text and zero become null. Raises `TransformError` for input of the wrong shape and for network modes that
    a launch config cannot hold.
    """
    config = _map(container, "Config")
    host = _map(container, "HostConfig")
    labels = {name: "" if value is None else str(value) for name, value in _map(config, "Labels").items()}
    fields: dict[str, Any] = {api: config.get(name) for name, api in _CONFIG.items()}
    fields.update((api, host.get(name)) for name, api in _HOST_CONFIG.items())
    fields.update(
        name=labels.get(DISPLAY_NAME_LABEL) or str(container.get("Name") or "").removeprefix("/"),
        externalId=container.get("Id"),
        imageUuid=image_uuid(str(config["Image"])) if config.get("Image") else None,
        environment=_environment(_list(config, "Env")),
        command=[str(word) for word in _list(config, "Cmd")],
        entryPoint=[str(word) for word in _list(config, "Entrypoint")],
        labels=labels,
        dataVolumes=[*sorted(_map(config, "Volumes")), *_list(host, "Binds")],
        ports=_ports(_map(config, "ExposedPorts"), _map(host, "PortBindings")),
        devices=[_device(_item(device)) for device in _list(host, "Devices")],
        blkioDeviceOptions=_blkio(host),
        ulimits=_ulimits(_list(host, "Ulimits")),
        restartPolicy=_restart(_map(host, "RestartPolicy")),
        logConfig=_log(_map(host, "LogConfig")),
        networkMode=_network_mode(str(host.get("NetworkMode") or "")),
        **_healthcheck(_map(config, "Healthcheck")),
    )
    return {name: None if value in ("", 0) and value is not False else value for name, value in fields.items()}


def _map(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TransformError(f"'{name}' must be an object")
    return value


def _list(parent: Mapping[str, Any], name: str) -> list[Any]:
    value = parent.get(name)
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise TransformError(f"'{name}' must be a list")
    return value


def _item(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TransformError("a list of objects holds something else")
    return value


def _environment(entries: list[Any]) -> dict[str, str]:
    split = (str(entry).partition("=") for entry in entries)
    return {name: value for name, _, value in split}


def _ports(exposed: Mapping[str, Any], bindings: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for port in sorted({*exposed, *bindings}):
        for binding in _list(bindings, port):
            host_port = str(_item(binding).get("HostPort") or "")
            container_port = port if "/" in port else f"{port}/tcp"
            found.append(container_port if host_port in ("", "0") else f"{host_port}:{container_port}")
    return found


def _device(device: Mapping[str, Any]) -> str:
    host = device.get("PathOnHost") or ""
    return f"{host}:{device.get('PathInContainer') or host}:{device.get('CgroupPermissions') or 'rwm'}"


def _blkio(host: Mapping[str, Any]) -> dict[str, dict[str, int]] | None:
    found: dict[str, dict[str, int]] = {}
    for name, (field, amount) in _RATES.items():
        for entry in _list(host, name):
            device = _item(entry)
            found.setdefault(str(device.get("Path")), {})[field] = device.get(amount) or 0
    return found or None


def _ulimits(limits: list[Any]) -> list[dict[str, Any]] | None:
    found = [
        {"name": limit.get("Name"), "soft": limit.get("Soft"), "hard": limit.get("Hard")}
        for limit in map(_item, limits)
    ]
    return found or None


def _restart(policy: Mapping[str, Any]) -> dict[str, Any] | None:
    if not policy.get("Name"):
        return None
    return {"name": policy["Name"], "maximumRetryCount": policy.get("MaximumRetryCount") or 0}


def _log(log: Mapping[str, Any]) -> dict[str, Any]:
    return {"driver": log.get("Type") or None, "config": dict(_map(log, "Config"))}


def _healthcheck(check: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "healthCmd": _list(check, "Test") or None,
        "healthInterval": _seconds(check.get("Interval")),
        "healthTimeout": _seconds(check.get("Timeout")),
        "healthRetries": check.get("Retries"),
    }


def _seconds(nanoseconds: Any) -> int | None:
    return int(nanoseconds) // _NANOSECONDS if isinstance(nanoseconds, int) else None


def _network_mode(mode: str) -> str:
    if mode in ("", "default"):
        return "bridge"
    if mode in _PLAIN_MODES:
        return mode
    if mode.startswith("container:"):
        raise TransformError("Transformer API does not support container network mode.")
    raise TransformError(f"Unrecognized network mode: {mode}")
