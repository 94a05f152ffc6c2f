"""The relations between types, derived from the columns that refer to other types.

A column ``stackId`` of ``service`` that refers to a stack gives a service the link ``stack`` and a stack the link
``services``. Where one type refers to another twice, the first column (in the order of the alphabet) names the
link, unless the second one has a name of its own here. Types tied through a join type link to each other directly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from drover.server.resources.declare import EQUAL
from drover.server.resources.model import EMPTY, Field, Link, Resource

# (referring type, its column) -> the link on the type referred to.
NAMES: Mapping[tuple[str, str], str] = {
    ("clusterHostMap", "clusterId"): "clusters",
    ("clusterHostMap", "hostId"): "hosts",
    ("hostLabelMap", "labelId"): "hostLabels",
    ("instanceLabelMap", "labelId"): "instanceLabels",
    ("instanceLink", "targetInstanceId"): "targetInstanceLinks",
    ("port", "privateIpAddressId"): "privatePorts",
    ("port", "publicIpAddressId"): "publicPorts",
    ("serviceConsumeMap", "consumedServiceId"): "consumedservices",
    ("serviceConsumeMap", "serviceId"): "consumedbyservices",
}

# Type -> its links through join types. A path replaces a join type that Drover keeps no rows of.
MAPS: Mapping[str, Mapping[str, Link]] = {
    "externalHandler": {
        "externalHandlerProcesses": Link(
            "map", "externalHandlerProcess", via="externalHandlerExternalHandlerProcessMap"
        )
    },
    "externalHandlerProcess": {
        "externalHandlers": Link("map", "externalHandler", via="externalHandlerExternalHandlerProcessMap")
    },
    "host": {
        "hostLabels": Link("map", "label", via="hostLabelMap"),
        "instances": Link("map", "instance", via="instanceHostMap", path=("id", "hostId")),
        "ipAddresses": Link("map", "ipAddress", via="hostIpAddressMap", path=("id", "hostId")),
        "storagePools": Link("map", "storagePool", via="storagePoolHostMap", path=("id", "hostId")),
    },
    "image": {"storagePools": Link("map", "storagePool", via="imageStoragePoolMap")},
    "instance": {
        "credentials": Link("map", "credential", via="credentialInstanceMap"),
        "hosts": Link("map", "host", via="instanceHostMap", path=("hostId", "id")),
        "instanceLabels": Link("map", "label", via="instanceLabelMap"),
        "services": Link("map", "service", via="serviceExposeMap"),
    },
    "ipAddress": {
        "hosts": Link("map", "host", via="hostIpAddressMap", path=("hostId", "id")),
        "nics": Link("map", "nic", via="ipAddressNicMap"),
    },
    "label": {
        "hosts": Link("map", "host", via="hostLabelMap"),
        "instances": Link("map", "instance", via="instanceLabelMap"),
    },
    "nic": {"ipAddresses": Link("map", "ipAddress", via="ipAddressNicMap")},
    "storagePool": {
        "hosts": Link("map", "host", via="storagePoolHostMap", path=("hostId", "id")),
        "images": Link("map", "image", via="imageStoragePoolMap"),
        "volumes": Link("map", "volume", via="volumeStoragePoolMap", path=("id", "storagePoolId")),
    },
    "volume": {"storagePools": Link("map", "storagePool", via="volumeStoragePoolMap", path=("storagePoolId", "id"))},
}


def linked(resources: Iterable[Resource], others: Mapping[str, Mapping[str, Link]] = EMPTY) -> list[Resource]:
    """The same types with their links; ``others`` are further links of base types that no column tells of."""
    by_name = {item.name: item for item in resources}
    bases = {name: _base(by_name, name) for name in by_name}
    children: dict[str, dict[str, Link]] = {name: {} for name in by_name}
    for item in sorted(by_name.values(), key=lambda found: found.name):
        if item.parent is None:
            for name, target in sorted(_references(item, by_name)):
                explicit = NAMES.get((item.name, name))
                link = Link("child", item.name, field=name)
                if explicit:
                    children[bases[target]][explicit] = link
                else:
                    children[bases[target]].setdefault(item.plural, link)
    return [
        replace(
            item,
            links=_sorted(
                children[bases[item.name]]
                | dict(MAPS.get(bases[item.name], EMPTY))
                | dict(others.get(bases[item.name], EMPTY))
                | {
                    _link_name(field): Link("reference", bases[target], field=field)
                    for field, target in _references(item, by_name)
                }
            ),
        )
        for item in by_name.values()
    ]


def _sorted(links: Mapping[str, Link]) -> Mapping[str, Link]:
    return {name: links[name] for name in sorted(links)}


def _references(item: Resource, by_name: Mapping[str, Resource]) -> list[tuple[str, str]]:
    """The columns that tie this type to others: (field, type referred to)."""
    found = []
    for name, field in item.fields.items():
        target = _target(field)
        if target in by_name:
            found.append((name, target))
    return found


def _target(field: Field) -> str:
    match = re.fullmatch(r"reference\[(\w+)\]", field.type)
    return match[1] if match and field.filters == EQUAL and not field.internal else ""


def _link_name(field: str) -> str:
    return field.removesuffix("Id")


def _base(by_name: Mapping[str, Resource], name: str) -> str:
    while (parent := by_name[name].parent) is not None:
        name = parent
    return name
