"""Sidekicks: further containers beside each container of a service, and how these refer to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drover.server.api.errors import invalid
from drover.server.api.types.names import check_dns_label


def check_sidekicks(service_name: str, primary: Mapping[str, Any], sidekicks: Sequence[Mapping[str, Any]]) -> None:
    """Names are valid and differ; volumes and network are taken from configs that exist, and not in a circle."""
    references: dict[str, set[str]] = {service_name.lower(): _references(primary)}
    for sidekick in sidekicks:
        name = str(sidekick.get("name") or "")
        if not name:
            raise invalid("MissingRequired", "name", "Each of secondaryLaunchConfigs needs a name")
        check_dns_label(name, what="The name of a sidekick")
        if name.lower() in references:
            raise invalid("NotUnique", "name", f"{name} is used twice among the service and its sidekicks")
        references[name.lower()] = _references(sidekick)
    for name, used in references.items():
        for unknown in used - references.keys():
            raise invalid(
                "InvalidReference",
                "secondaryLaunchConfigs",
                f"{name} takes volumes or network from {unknown}, which is no sidekick of this service",
            )
    _check_no_circle(references)


def _references(config: Mapping[str, Any]) -> set[str]:
    names = {str(each).lower() for each in config.get("dataVolumesFromLaunchConfigs") or ()}
    network = config.get("networkLaunchConfig")
    return names | ({str(network).lower()} if network else set())


def _check_no_circle(references: Mapping[str, set[str]]) -> None:
    left = dict(references)
    while left:
        free = [name for name, used in left.items() if not used & left.keys()]
        if not free:
            names = ", ".join(sorted(left))
            raise invalid(
                "InvalidReference",
                "secondaryLaunchConfigs",
                f"CircularReference: {names} take volumes or network from each other in a circle",
            )
        for name in free:
            del left[name]
