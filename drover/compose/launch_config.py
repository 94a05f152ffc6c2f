"""One service as a launch config: how its containers are made.

Most keys go unchanged into the field that the key table names. The rest, whose shape differs in the API, is here.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from drover.compose.check import SIDEKICKS_LABEL, launch_config_name
from drover.compose.errors import ComposeError, Problem
from drover.compose.hash import is_unset
from drover.compose.keys import KEYS
from drover.compose.model import Service
from drover.compose.references import Body, SecretRef, to_wire
from drover.compose.urls import is_remote_context

_HAS_PREFIX = re.compile(r"(?:sim|docker):")
_CPU_PERIOD = 100_000


class BuiltImage(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of preparing a local build folder.

    `image` names the image and must change with the content of the folder; `context_url` is where a host fetches it.
    """

    image: str
    context_url: str
    dockerfile: str | None = None


def launch_config(service: Service, *, stack: str, builds: Mapping[str, BuiltImage]) -> Body:
    """The launch config of a service, without values that mean "not set"."""
    body: Body = {}
    for key in KEYS.values():
        if key.api:
            value = getattr(service, key.name)
            if not is_unset(value):
                body[key.api] = to_wire(value)
    body.update(_image(service, stack, builds))
    body.update(_network(service))
    body.update(_limits(service))
    body.update(_docker_health(service))
    if service.volumes_from:
        body["dataVolumesFromLaunchConfigs"] = [launch_config_name(entry) for entry in service.volumes_from]
    if service.logging is not None:
        config = dict(service.logging.options or {})
        body["logConfig"] = {"driver": service.logging.driver or "", "config": config}
    if service.restart is not None:
        body["restartPolicy"] = to_wire(service.restart)
    if service.secrets:
        body["secrets"] = [_secret(mount) for mount in service.secrets]
    if service.type:
        plain = service.type.replace("_", "").lower()
        body["kind"] = "virtualMachine" if plain == "virtualmachine" else service.type
    if service.sidekicks:
        body["labels"] = {**body["labels"], SIDEKICKS_LABEL: ",".join(service.sidekicks)}
    return body


def image_uuid(image: str) -> str:
    """The API's name of an image."""
    return image if _HAS_PREFIX.match(image) else f"docker:{image}"


def local_build_context(service: Service) -> str | None:
    """The absolute folder that must be sent somewhere before the service can be created, or None."""
    context = service.build.context if service.build else None
    return None if context is None or is_remote_context(context) else context


def _image(service: Service, stack: str, builds: Mapping[str, BuiltImage]) -> Body:
    build = service.build
    if build is None or build.context is None:
        return {"imageUuid": image_uuid(service.image)} if service.image else {}
    if local_build_context(service) is not None:
        built = builds.get(service.name)
        if built is None:
            message = f"Service '{service.name}': the local build context was not prepared"
            raise ComposeError([Problem(message, service.mark, "prepare it and pass the result in 'builds'")])
        parts = {"context": built.context_url, "dockerfile": built.dockerfile or build.dockerfile}
        image = service.image or built.image
    else:
        parts = {"remote": build.context, "dockerfile": build.dockerfile}
        fingerprint = hashlib.sha256(f"{build.context}\0{build.dockerfile or ''}".encode()).hexdigest()[:12]
        image = service.image or f"{stack}_{service.name}_{fingerprint}".lower()
    return {"build": {key: part for key, part in parts.items() if part}, "imageUuid": image_uuid(image)}


def _network(service: Service) -> Body:
    mode = service.network_mode or "managed"
    kind, colon, target = mode.partition(":")
    if colon and kind in ("container", "service"):
        return {"networkMode": "container", "networkLaunchConfig": target}
    return {"networkMode": mode}


def _limits(service: Service) -> Body:
    body: Body = {}
    if service.cpus and not service.cpu_quota:
        period = service.cpu_period or _CPU_PERIOD
        body.update(cpuPeriod=period, cpuQuota=int(service.cpus * period))
    if service.ulimits:
        body["ulimits"] = [to_wire(limit) for limit in service.ulimits.values()]
    devices: dict[str, dict[str, int]] = {}
    for field, rates in (
        ("weight", service.blkio_weight_device),
        ("readBps", service.device_read_bps),
        ("readIops", service.device_read_iops),
        ("writeBps", service.device_write_bps),
        ("writeIops", service.device_write_iops),
    ):
        for device, rate in (rates or {}).items():
            devices.setdefault(device, {})[field] = rate
    if devices:
        body["blkioDeviceOptions"] = devices
    return body


def _docker_health(service: Service) -> Body:
    check = service.healthcheck
    if check is None:
        return {}
    fields = {
        "healthCmd": list(check.test) if check.test else None,
        "healthInterval": check.interval,
        "healthTimeout": check.timeout,
        "healthRetries": check.retries,
    }
    return {name: value for name, value in fields.items() if value}


def _secret(mount: Any) -> Body:
    optional = {"uid": mount.uid, "gid": mount.gid, "mode": mount.mode}
    return {
        "secretId": SecretRef(mount.source),
        "name": mount.target,
        **{name: value for name, value in optional.items() if value},
    }
