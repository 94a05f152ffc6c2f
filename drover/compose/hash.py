"""Fingerprints that tell whether a service changed since it was deployed.

Three kinds are stored with a service, in the places Rancher 1.6 used: one of the service in its metadata, one of each
launch config in a label. They are made from the API bodies this package builds, before any id is looked up, so equal
files give equal fingerprints on every server. Nulls do not count, nor do fields that change without a need for new
containers (scale, links, selectors).
"""

from collections.abc import Iterator, Mapping
from hashlib import sha1
from typing import Any

from drover.compose.nodes import scalar_text
from drover.compose.references import Body, SettingRef

HASH_KEY = "io.rancher.service.hash"
#: Rancher 1.6 left such names out at every level, and so missed a changed variable that is called `scale`.
_NOT_THE_SERVICE = frozenset(
    {"launchConfig", "secondaryLaunchConfigs", "links", "scale", "selectorContainer", "selectorLink", "stackId"}
    | {"name", "startOnCreate"}
)
#: A pre-signed URL differs each time; the image name carries the fingerprint of the content.
_VOLATILE = frozenset({"context"})


def service_hash(body: Body) -> str:
    """Fingerprint of the service itself, without its launch configs."""
    return _digest({key: value for key, value in body.items() if key not in _NOT_THE_SERVICE})


def launch_config_hash(launch_config: Body) -> str:
    """Fingerprint of one launch config."""
    build = launch_config.get("build")
    if isinstance(build, Mapping):
        kept = {key: value for key, value in build.items() if key not in _VOLATILE}
        launch_config = {**launch_config, "build": kept}
    return _digest(launch_config)


def with_hashes(body: Body) -> Body:
    """The body of a create call with all fingerprints in their places."""
    return {
        **body,
        "metadata": {**body.get("metadata", {}), HASH_KEY: service_hash(body)},
        "launchConfig": _labelled(body["launchConfig"]),
        "secondaryLaunchConfigs": [_labelled(config) for config in body.get("secondaryLaunchConfigs", [])],
    }


def _labelled(launch_config: Body) -> Body:
    labels = {**launch_config.get("labels", {}), HASH_KEY: launch_config_hash(launch_config)}
    return {**launch_config, "labels": labels}


def _digest(body: Mapping[str, Any]) -> str:
    # Rancher 1.6 names the algorithm; it finds changes and protects nothing.
    return sha1("".join(_canonical(body)).encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def _canonical(value: Any) -> Iterator[str]:
    """Keys and scalars as text, each closed by NUL; maps by sorted key. Braces keep different nestings apart."""
    if isinstance(value, Mapping):
        yield "{\0"
        for key in sorted(value):
            if key != HASH_KEY and value[key] is not None:
                yield f"{key}\0"
                yield from _canonical(value[key])
        yield "}\0"
    elif isinstance(value, list | tuple):
        yield "[\0"
        for item in value:
            yield from _canonical(item)
        yield "]\0"
    elif isinstance(value, str | int | float):
        yield f"{scalar_text(value)}\0"
    elif isinstance(value, SettingRef):
        yield f"setting {value}\0"
    else:
        yield f"{'' if value is None else value}\0"


def is_unset(value: Any) -> bool:
    """Whether a field of the API means the same as a missing one: null, false, zero, and everything empty."""
    if isinstance(value, bool | int | float):
        return not value
    return value is None or (isinstance(value, str | Mapping | list | tuple) and not value)
