"""Live services as the two compose files: the API action `exportconfig`.

What is exported and read again gives the same services; equal services give equal text (order is fixed: services by
name, each followed by its sidekicks, keys as in the key table). Every `$` is doubled, and text with `{{` gets the
marker that keeps templates away.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from drover.compose import emit
from drover.compose.balancer import SELECTOR_LINK_LABEL
from drover.compose.check import (
    DNS_IMAGE,
    EXTERNAL_IMAGE,
    LEGACY_LB_IMAGE,
    SELECTOR_CONTAINER_LABEL,
    SIDEKICKS_LABEL,
)
from drover.compose.convert import Kind
from drover.compose.hash import HASH_KEY
from drover.compose.keys import KEYS

GLOBAL_LABEL = "io.rancher.scheduler.global"
_UPPER = re.compile(r"(?<=[a-z0-9])([A-Z])")
_FREE_SECTIONS = frozenset({"cniConfig", "networkMetadata", "opts"})
_RANCHER_KEYS = frozenset(
    {"milli_cpu_reservation", "drain_timeout_ms", "health_check", "vcpu", "memory", "userdata", "disks"}
)
_RATES = {
    "weight": "blkio_weight_device",
    "readBps": "device_read_bps",
    "readIops": "device_read_iops",
    "writeBps": "device_write_bps",
    "writeIops": "device_write_iops",
}
_PSEUDO_IMAGES = {
    Kind.EXTERNAL.value: EXTERNAL_IMAGE,
    Kind.DNS.value: DNS_IMAGE,
    Kind.BALANCER.value: LEGACY_LB_IMAGE,
}


class ServiceName(msgspec.Struct, frozen=True):
    """A service and the stack it belongs to."""

    stack: str
    name: str


class ExportNames(msgspec.Struct, frozen=True, kw_only=True):
    """Names of everything the exported services point at, by id."""

    services: Mapping[str, ServiceName] = {}
    certificates: Mapping[str, str] = {}
    secrets: Mapping[str, str] = {}
    containers: Mapping[str, str] = {}


class ComposeFiles(msgspec.Struct, frozen=True):
    """Texts of docker-compose.yml and rancher-compose.yml."""

    docker_compose: str
    rancher_compose: str


def export_stack(
    *,
    stack_name: str,
    services: Sequence[Mapping[str, Any]],
    volume_templates: Sequence[Mapping[str, Any]],
    names: ExportNames,
) -> ComposeFiles:
    """The two files for service resources of one stack, with the stack's volume templates."""
    exporter = _Exporter(stack_name, names)
    for service in sorted(services, key=lambda one: str(one["name"])):
        exporter.add_service(service)
    volumes = {str(one["name"]): _volume(one) for one in sorted(volume_templates, key=lambda one: str(one["name"]))}
    return exporter.files(volumes)


class _Exporter:
    """Collects the entries of both files."""

    def __init__(self, stack_name: str, names: ExportNames) -> None:
        self._stack = stack_name
        self._names = names
        self._docker: dict[str, dict[str, Any]] = {}
        self._rancher: dict[str, dict[str, Any]] = {}
        self._driver_volumes: dict[str, dict[str, Any]] = {}
        self._secrets: set[str] = set()

    def files(self, volumes: dict[str, dict[str, Any]]) -> ComposeFiles:
        docker: dict[str, Any] = {"version": "2"}
        if self._docker:
            docker["services"] = _escape(self._docker)
        if all_volumes := {**self._driver_volumes, **volumes}:
            docker["volumes"] = _escape(all_volumes)
        if self._secrets:
            docker["secrets"] = {name: {"external": "true"} for name in sorted(self._secrets)}
        rancher: dict[str, Any] = {"version": "2"}
        if entries := {name: entry for name, entry in self._rancher.items() if entry}:
            rancher["services"] = _escape(entries)
        return ComposeFiles(_text(docker), _text(rancher))

    def add_service(self, service: Mapping[str, Any]) -> None:
        """One service with its sidekicks."""
        primary = service.get("launchConfig") or {}
        sidekicks = [config for config in service.get("secondaryLaunchConfigs") or () if config.get("name")]
        name = str(service["name"])
        docker, rancher = self._launch_config(primary)
        _add_labels(docker, service, sidekicks)
        if not docker.get("image") and service.get("type") in _PSEUDO_IMAGES:
            docker["image"] = _PSEUDO_IMAGES[str(service["type"])]
        docker.update(self._links(service))
        if service.get("type") == Kind.EXTERNAL.value:
            docker.pop("hostname", None)
            rancher["hostname"] = service.get("hostname") or primary.get("hostname")
            rancher["health_check"] = rancher["health_check"] or _underscored(service.get("healthCheck"))
        self._docker[name] = _set_only(docker)
        self._rancher[name] = _set_only({**self._service_keys(service, docker), **rancher})
        for config in sidekicks:
            docker, rancher = self._launch_config(config)
            self._docker[str(config["name"])] = _set_only(docker)
            self._rancher[str(config["name"])] = _set_only(rancher)

    def _launch_config(self, config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """A launch config as entries of docker-compose.yml and of rancher-compose.yml."""
        docker: dict[str, Any] = {"image": str(config.get("imageUuid") or "").removeprefix("docker:")}
        rancher: dict[str, Any] = {}
        for key in KEYS.values():
            if key.api:
                target = rancher if key.name in _RANCHER_KEYS else docker
                target[key.name] = config.get(key.api)
        docker["labels"] = {n: v for n, v in (config.get("labels") or {}).items() if n != HASH_KEY}
        docker["network_mode"] = self._network_mode(config)
        docker["volumes_from"] = [
            *(config.get("dataVolumesFromLaunchConfigs") or ()),
            *(self._names.containers.get(one, one) for one in config.get("dataVolumesFrom") or ()),
        ]
        if timeout := config.get("stopTimeout"):
            docker["stop_grace_period"] = f"{timeout}s"
        docker["tmpfs"] = [f"{path}:{opts}" if opts else path for path, opts in (config.get("tmpfs") or {}).items()]
        docker["ulimits"] = {one["name"]: _ulimit(one) for one in config.get("ulimits") or ()}
        docker.update(_docker_sections(config))
        docker["secrets"] = [self._secret(one) for one in config.get("secrets") or ()]
        self._move_volume_driver(docker)
        rancher["health_check"] = _underscored(config.get("healthCheck"))
        rancher["disks"] = _underscored(config.get("disks"))
        if config.get("kind") == "virtualMachine":
            rancher["type"] = "virtualMachine"
        return docker, rancher

    def _service_keys(self, service: Mapping[str, Any], docker: Mapping[str, Any]) -> dict[str, Any]:
        metadata = {k: v for k, v in (service.get("metadata") or {}).items() if k != HASH_KEY}
        is_global = str((docker.get("labels") or {}).get(GLOBAL_LABEL, "")).lower() == "true"
        return {
            "description": service.get("description"),
            "start_on_create": service.get("startOnCreate"),
            "scale": None if is_global else service.get("scale"),
            "scale_policy": _underscored(service.get("scalePolicy")),
            "retain_ip": service.get("retainIp"),
            "metadata": metadata,
            "external_ips": service.get("externalIpAddresses"),
            "lb_config": self._lb_config(service),
            "storage_driver": _driver(service.get("storageDriver")),
            "network_driver": _driver(service.get("networkDriver")),
        }

    def _lb_config(self, service: Mapping[str, Any]) -> dict[str, Any] | None:
        config = service.get("lbConfig")
        if not config:
            return None
        rules = [self._port_rule(rule) for rule in config.get("portRules") or ()]
        if service.get("type") != Kind.BALANCER.value:
            return {"port_rules": rules} if rules else None
        certificates = [self._names.certificates.get(one, one) for one in config.get("certificateIds") or ()]
        default = config.get("defaultCertificateId")
        optional = {
            "default_cert": self._names.certificates.get(default, default) if default else None,
            "port_rules": rules,
            "config": config.get("config"),
            "stickiness_policy": _underscored(config.get("stickinessPolicy")),
        }
        return {"certs": certificates, **_set_only(optional)}

    def _port_rule(self, rule: Mapping[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = _underscored({k: v for k, v in rule.items() if k != "serviceId"})
        if rule.get("serviceId"):
            fields["service"] = self._service(str(rule["serviceId"]))
        return dict(sorted(_set_only(fields).items()))

    def _service(self, service_id: str) -> str:
        found = self._names.services.get(service_id)
        if found is None:
            return service_id
        return found.name if found.stack == self._stack else f"{found.stack}/{found.name}"

    def _links(self, service: Mapping[str, Any]) -> dict[str, Any]:
        if service.get("type") == Kind.BALANCER.value:
            return {}
        links: list[str] = []
        external: list[str] = []
        for alias, service_id in sorted((service.get("linkedServices") or {}).items()):
            name = self._service(str(service_id))
            target = external if "/" in name else links
            target.append(f"{name}:{alias or name.rpartition('/')[2]}")
        return {"links": links, "external_links": external}

    def _network_mode(self, config: Mapping[str, Any]) -> str | None:
        mode = config.get("networkMode")
        if mode != "container":
            return None if mode == "managed" else mode
        container = config.get("networkContainerId")
        name = config.get("networkLaunchConfig") or self._names.containers.get(str(container), container)
        return f"container:{name}" if name else None

    def _secret(self, secret: Mapping[str, Any]) -> str | dict[str, Any]:
        secret_id = str(secret.get("secretId"))
        source = self._names.secrets.get(secret_id, secret_id)
        self._secrets.add(source)
        target = secret.get("name") or source
        mode = str(secret.get("mode") or "")
        optional = {
            "uid": str(secret.get("uid") or ""),
            "gid": str(secret.get("gid") or ""),
            "mode": f"0{mode}" if len(mode) == 3 else mode,
        }
        if target == source and not any(optional.values()):
            return source
        return {"source": source, "target": target, **{name: text for name, text in optional.items() if text}}

    def _move_volume_driver(self, docker: dict[str, Any]) -> None:
        """Named volumes of an older volume driver become external volumes of that driver."""
        driver = docker.get("volume_driver")
        if not driver:
            return
        named = [v.split(":")[0] for v in docker.get("volumes") or () if ":" in v and v[0] not in "/.~"]
        if named:
            docker["volume_driver"] = None
            self._driver_volumes.update({name: {"driver": driver, "external": True} for name in named})


def _add_labels(docker: dict[str, Any], service: Mapping[str, Any], sidekicks: Sequence[Mapping[str, Any]]) -> None:
    """Labels that stand for fields and for the grouping of launch configs."""
    labels = docker["labels"]
    labels.pop(SIDEKICKS_LABEL, None)
    for label, field in ((SELECTOR_LINK_LABEL, "selectorLink"), (SELECTOR_CONTAINER_LABEL, "selectorContainer")):
        if service.get(field):
            labels[label] = service[field]
    if sidekicks:
        labels[SIDEKICKS_LABEL] = ",".join(str(config["name"]) for config in sidekicks)


def _docker_sections(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keys whose shape differs from the API."""
    found: dict[str, Any] = {}
    for device, rates in (config.get("blkioDeviceOptions") or {}).items():
        for field, amount in rates.items():
            if field in _RATES and amount:
                found.setdefault(_RATES[field], {})[device] = amount
    log = config.get("logConfig") or {}
    if log.get("driver"):
        found["logging"] = _set_only({"driver": log["driver"], "options": log.get("config")})
    policy = config.get("restartPolicy") or {}
    if policy.get("name"):
        count = policy.get("maximumRetryCount")
        limited = policy["name"] == "on-failure" and count
        found["restart"] = f"on-failure:{count}" if limited else policy["name"]
    found["healthcheck"] = _set_only(
        {
            "test": config.get("healthCmd"),
            "interval": f"{config['healthInterval']}s" if config.get("healthInterval") else None,
            "timeout": f"{config['healthTimeout']}s" if config.get("healthTimeout") else None,
            "retries": config.get("healthRetries"),
        }
    )
    return found


def _ulimit(limit: Mapping[str, Any]) -> Any:
    if limit.get("hard") is None:
        return limit.get("soft")
    return {"soft": limit.get("soft"), "hard": limit["hard"]}


def _driver(driver: Mapping[str, Any] | None) -> Any:
    known = {"name", "scope", "volumeAccessMode", "blockDevicePath", "volumeCapabilities"}
    known |= {"defaultNetwork", "cniConfig", "networkMetadata"}
    return _underscored({key: value for key, value in (driver or {}).items() if key in known}) or None


def _volume(template: Mapping[str, Any]) -> dict[str, Any]:
    return _set_only(
        {
            "driver": template.get("driver"),
            "driver_opts": template.get("driverOpts"),
            "external": template.get("external"),
            "per_container": template.get("perContainer"),
        }
    )


def _underscored(value: Any) -> Any:
    """Camel-case keys with underscores; without nulls and the API's `type`. Free sections stay as they are."""
    if isinstance(value, Mapping):
        return {
            _UPPER.sub(r"_\1", key).lower(): inner if key in _FREE_SECTIONS else _underscored(inner)
            for key, inner in value.items()
            if inner is not None and key != "type"
        }
    if isinstance(value, list | tuple):
        return [_underscored(inner) for inner in value]
    return value


def _set_only(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Without null, false, empty text, lists and maps; a drain time of zero means none."""
    order = {name: position for position, name in enumerate(KEYS)}
    kept = {
        key: value
        for key, value in entry.items()
        if not (value is None or value is False or value in ("", [], {}, ()))
        and not (key == "drain_timeout_ms" and value == 0)
    }
    return dict(sorted(kept.items(), key=lambda item: order.get(item[0], -1)))


def _escape(value: Any) -> Any:
    """Every `$` doubled, so that reading the text again gives the same values."""
    return dict(_escaped_items(value)) if isinstance(value, Mapping) else _escape_leaf(value)


def _escaped_items(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        yield str(key), _escape(inner)


def _escape_leaf(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list | tuple):
        return [_escape(inner) for inner in value]
    return value


def _text(document: dict[str, Any]) -> str:
    text = emit.dump(document)
    return f"# notemplating\n{text}" if "{{" in text else text
