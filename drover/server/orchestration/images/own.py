"""The image of this program: where Drover starts containers of its own, and where it stands in for one of Rancher 1.6.

The programs of Rancher 1.6's images need the server and the agents that they were made for. Stack files that name its
balancer shall work as they are, so containers of a load balancer service whose image is ``rancher/lb-service-haproxy``,
in any version and from any registry, run Drover's own balancer. The service keeps what its file says; only the
containers differ. A launch config with a command of its own is left alone, and the setting ``drover.balancer.image``
names another image to stand in, or ``none`` to run what the files name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drover.server.orchestration.images.reference import split_image
from drover.server.orchestration.settings import Settings

_IMAGE_SETTING = "drover.image"
_AGENT_IMAGE_SETTING = "bootstrap.required.image"
_BALANCER_SETTING = "drover.balancer.image"
_DEFAULT_IMAGE = "drover:latest"
_REPLACED = "rancher/lb-service-haproxy"
BALANCER_COMMAND = ("balancer", "--guard")


def own_image(settings: Settings) -> str:
    """The image that the host programs run in: the setting, else the one that agents run in, else the usual name."""
    given = settings.get(_IMAGE_SETTING).strip()
    if given:
        return given
    if settings.chosen(_AGENT_IMAGE_SETTING):
        return settings.get(_AGENT_IMAGE_SETTING).strip() or _DEFAULT_IMAGE
    return _DEFAULT_IMAGE


def stand_in(settings: Settings, launch: Mapping[str, Any]) -> dict[str, Any]:
    """The fields in which the container of a load balancer service differs from its launch config; mostly none."""
    image = str(launch.get("imageUuid") or "").removeprefix("docker:")
    if launch.get("command") or launch.get("entryPoint"):
        return {}
    own = own_image(settings)
    if image == own:
        return {"command": list(BALANCER_COMMAND)}
    wanted = settings.get(_BALANCER_SETTING).strip() or own
    if wanted.lower() == "none" or _repository(image) != _REPLACED:
        return {}
    return {"imageUuid": f"docker:{wanted}", "command": list(BALANCER_COMMAND)}


def balancer_images(settings: Settings) -> frozenset[str]:
    """The images in which `balancer` is Drover's own."""
    chosen = settings.get(_BALANCER_SETTING).strip()
    return frozenset({own_image(settings), chosen} - {"", "none"})


def _repository(image: str) -> str:
    """The name without registry, tag and digest."""
    folder, slash, name = split_image(image.partition("@")[0])[1].rpartition("/")
    return f"{folder}{slash}{name.partition(':')[0]}"
