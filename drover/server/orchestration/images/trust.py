"""Whom to give keys of the environment's administrator: only programs that their user cannot bend.

Those keys read private keys of certificates and passwords of registries, which a balancer needs and the people who may
create balancers need not have. Rancher 1.6 gave them to every container of its balancer's image, whatever command,
variables or volumes came with it. Here the container must run the balancer of an image that the administrator chose,
and nothing of it may lead the program, or the keys, elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from drover.server.orchestration.images.own import BALANCER_COMMAND, balancer_images
from drover.server.orchestration.settings import Settings

_STANDARD_IMAGE = "lb.instance.image"
_COMMANDS = (list(BALANCER_COMMAND), list(BALANCER_COMMAND[:1]))
_BENDING_FIELDS = (
    "capAdd", "dataVolumesFrom", "devices", "dns", "entryPoint", "extraHosts", "instanceLinks", "ipcMode",
    "networkContainerId", "pidMode", "privileged", "securityOpt", "sysctls", "user", "workingDir",
)  # fmt: skip
_BENDING_VARIABLES = ("CATTLE_", "DROVER_", "LD_", "PYTHON", "RANCHER_", "SSL_")
_HARMLESS_VARIABLES = ("DROVER_PROVIDER",)
_OWN_DOMAIN = ".rancher.internal"
_PROGRAM_FOLDERS = frozenset(
    {"bin", "dev", "etc", "lib", "lib64", "opt", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var"}
)


def is_trusted_balancer(settings: Settings, container: Mapping[str, Any]) -> bool:
    """Whether a container of a load balancer service does nothing but balance, wherever its definition comes from."""
    image = str(container.get("imageUuid") or "").removeprefix("docker:")
    command = container.get("command") or []
    words = command.split() if isinstance(command, str) else [str(word) for word in command]
    if image in balancer_images(settings):
        runs_balancer = words in _COMMANDS
    else:
        runs_balancer = image == settings.get(_STANDARD_IMAGE) and not words
    return (
        runs_balancer
        and not any(container.get(field) for field in _BENDING_FIELDS)
        and all(str(domain).endswith(_OWN_DOMAIN) for domain in container.get("dnsSearch") or ())
        and not any(_bends(str(name)) for name in container.get("environment") or {})
        and not any(_hides_programs(str(volume)) for volume in container.get("dataVolumes") or ())
        and not any(_hides_programs(str(target)) for target in container.get("dataVolumeMounts") or {})
    )


def _bends(variable: str) -> bool:
    name = variable.upper()
    return (name.startswith(_BENDING_VARIABLES) or name.endswith("_PROXY")) and name not in _HARMLESS_VARIABLES


def _hides_programs(volume: str) -> bool:
    """`source:target[:mode]` or a target alone; anything that is not plainly somewhere else counts as hiding."""
    parts = volume.split(":")
    target = PurePosixPath(parts[1] if len(parts) > 1 else parts[0])
    return (
        not target.is_absolute() or ".." in target.parts or len(target.parts) < 2 or target.parts[1] in _PROGRAM_FOLDERS
    )
