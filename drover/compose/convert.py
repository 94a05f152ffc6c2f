"""Services of a project as bodies of API calls.

The result names everything by name; ids are put in by the caller (`references.resolve`). The bodies lack `stackId`,
which the caller adds. Source of the field rules: Rancher 1.6's compose executor.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec

from drover.compose import balancer
from drover.compose.check import DNS_IMAGE, EXTERNAL_IMAGE, LEGACY_LB_IMAGE, SELECTOR_CONTAINER_LABEL
from drover.compose.hash import HASH_KEY, is_unset, with_hashes
from drover.compose.launch_config import BuiltImage, image_uuid, launch_config, local_build_context
from drover.compose.model import ComposeProject, Service, UpgradeStrategy, VolumeTemplate
from drover.compose.order import dependencies
from drover.compose.references import Body, ServiceRef, SettingRef, service_ref, to_wire

WAIT_LABEL = "io.rancher.service.wait_for_healthcheck"


class Kind(Enum):
    """What a service is; the value is the API type, the collection its plural."""

    SERVICE = "service"
    EXTERNAL = "externalService"
    BALANCER = "loadBalancerService"
    DNS = "dnsService"
    NETWORK_DRIVER = "networkDriverService"
    STORAGE_DRIVER = "storageDriverService"

    @property
    def collection(self) -> str:
        """The collection a service of this kind is created in."""
        return f"{self.value}s"


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One service link. `target` is None for `region/stack/service` names, which only `remote` can express."""

    name: str
    target: ServiceRef | None = None
    remote: str = ""

    def body(self) -> Body:
        """The link as an item of `setservicelinks`."""
        return (
            {"name": self.name, "service": self.remote}
            if self.target is None
            else {
                "name": self.name,
                "serviceId": self.target,
            }
        )


class ServicePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One service to create or to compare.

    `body` is the create call without `stackId`, with fingerprints. `links` is None when links must not be set (external
    services, balancers, selector links). `scale` is None when the file gives none. `depends_on` names services of the
    same file; those in `wait_for` must be healthy first.
    """

    name: str
    kind: Kind
    body: Body
    links: tuple[Link, ...] | None
    scale: int | None
    depends_on: tuple[str, ...]
    wait_for: tuple[str, ...]
    wait_for_health: bool
    upgrade: UpgradeStrategy


def plan_services(
    project: ComposeProject, *, builds: Mapping[str, BuiltImage] | None = None
) -> tuple[ServicePlan, ...]:
    """All services of a project, sidekicks inside their primaries, in the order of the files.

    `builds` gives the outcome for each service of `local_builds`. Raises `ComposeError` when one is missing.
    """
    required = dependencies(project)
    return tuple(_plan(service, project, builds or {}, required) for service in project.primaries)


def local_builds(project: ComposeProject) -> dict[str, str]:
    """Services with a local build folder, and that folder (absolute)."""
    contexts = ((name, local_build_context(service)) for name, service in project.services.items())
    return {name: context for name, context in contexts if context is not None}


def volume_bodies(project: ComposeProject) -> tuple[Body, ...]:
    """One body for each volume template, without `stackId`."""
    return tuple(_volume(volume) for volume in project.volumes.values())


def kind_of(service: Service) -> Kind:
    """The kind of a service; the first test that holds decides."""
    rules = service.lb_config.port_rules or () if service.lb_config else ()
    if service.image == EXTERNAL_IMAGE or service.external_ips:
        return Kind.EXTERNAL
    if service.image == LEGACY_LB_IMAGE or any(rule.source_port for rule in rules):
        return Kind.BALANCER
    if service.image == DNS_IMAGE:
        return Kind.DNS
    if service.network_driver is not None:
        return Kind.NETWORK_DRIVER
    if service.storage_driver is not None:
        return Kind.STORAGE_DRIVER
    return Kind.SERVICE


def _plan(
    service: Service,
    project: ComposeProject,
    builds: Mapping[str, BuiltImage],
    required: Mapping[str, tuple[str, ...]],
) -> ServicePlan:
    kind = kind_of(service)
    body = _service_body(service, kind, project.name)
    body["launchConfig"] = _primary(service, kind, project.name, builds)
    sidekicks = project.sidekicks_of(service.name)
    if sidekicks:
        body["secondaryLaunchConfigs"] = [
            {"name": sidekick.name, **launch_config(sidekick, stack=project.name, builds=builds)}
            for sidekick in sidekicks
        ]
    members = (service, *sidekicks)
    conditions = [(member.depends_on or {}).items() for member in members]
    healthy = {name for found in conditions for name, condition in found if condition == "service_healthy"}
    return ServicePlan(
        name=service.name,
        kind=kind,
        body=with_hashes(body),
        links=_links(service, sidekicks, kind, project),
        scale=service.scale,
        depends_on=required[service.name],
        wait_for=tuple(name for name in required[service.name] if name in healthy),
        wait_for_health=service.label(WAIT_LABEL) is not None,
        upgrade=service.upgrade_strategy or UpgradeStrategy(),
    )


def _service_body(service: Service, kind: Kind, stack: str) -> Body:
    """The service without its launch configs."""
    body: Body = {"name": service.name, "scale": service.scale if service.scale and service.scale > 0 else 1}
    if service.description:
        body["description"] = service.description
    if service.start_on_create is not None:
        body["startOnCreate"] = service.start_on_create
    if metadata := {key: value for key, value in (service.metadata or {}).items() if key != HASH_KEY}:
        body["metadata"] = metadata
    if service.scale_policy is not None:
        body["scalePolicy"] = to_wire(service.scale_policy)
    if service.retain_ip:
        body["retainIp"] = True
    body.update(_selectors(service))
    body.update(_typed_fields(service, kind, stack))
    return body


def _selectors(service: Service) -> Body:
    if service.image == LEGACY_LB_IMAGE:
        return {}  # its selector became rules
    fields = {
        "selectorLink": service.label(balancer.SELECTOR_LINK_LABEL),
        "selectorContainer": service.label(SELECTOR_CONTAINER_LABEL),
    }
    return {name: value for name, value in fields.items() if value}


def _typed_fields(service: Service, kind: Kind, stack: str) -> Body:
    """Fields that only the kind of the service has."""
    if kind is Kind.EXTERNAL:
        fields: dict[str, Any] = {
            "externalIpAddresses": list(service.external_ips or ()),
            "hostname": service.hostname,
            "healthCheck": to_wire(service.health_check) if service.health_check else None,
        }
        return {name: value for name, value in fields.items() if value}
    if kind is Kind.BALANCER:
        if service.image == LEGACY_LB_IMAGE:
            return {"lbConfig": balancer.legacy_lb_config(service, stack=stack)}
        assert service.lb_config is not None
        return {"lbConfig": balancer.lb_config(service.lb_config, stack=stack)}
    body: Body = {}
    if service.lb_config is not None and service.lb_config.port_rules:
        body["lbConfig"] = balancer.target_rules(service.lb_config)
    if kind is Kind.NETWORK_DRIVER:
        body["networkDriver"] = _network_driver(service)
    if kind is Kind.STORAGE_DRIVER:
        body["storageDriver"] = to_wire(service.storage_driver)
    return body


def _network_driver(service: Service) -> Body:
    """The driver without empty addresses: templates leave them empty when a question is not answered."""
    driver: Body = to_wire(service.network_driver)
    network = driver.get("defaultNetwork")
    if network and "subnets" in network:
        network["subnets"] = [{key: value for key, value in one.items() if value} for one in network["subnets"]]
    return driver


def _primary(service: Service, kind: Kind, stack: str, builds: Mapping[str, BuiltImage]) -> Body:
    config = launch_config(service, stack=stack, builds=builds)
    if service.image == LEGACY_LB_IMAGE:
        return balancer.legacy_launch_config(config)
    if "imageUuid" not in config:
        config["imageUuid"] = _default_image(kind)
    return config


def _default_image(kind: Kind) -> str | SettingRef:
    if kind is Kind.BALANCER:
        return SettingRef(balancer.IMAGE_SETTING, "docker:")
    return image_uuid(EXTERNAL_IMAGE if kind is Kind.EXTERNAL else "rancher/none")


def _links(
    service: Service, sidekicks: tuple[Service, ...], kind: Kind, project: ComposeProject
) -> tuple[Link, ...] | None:
    if kind in (Kind.EXTERNAL, Kind.BALANCER) or service.label(balancer.SELECTOR_LINK_LABEL):
        return None
    found: dict[str, Link] = {}
    for member in (service, *sidekicks):
        for text in (*(member.links or ()), *(member.external_links or ())):
            target, _, alias = text.partition(":")
            if target in project.primary_of:
                continue
            name = alias or target.rpartition("/")[2]
            if target.count("/") > 1:
                found[name] = Link(name=name, remote=target)
            else:
                found[name] = Link(name=name, target=service_ref(target, stack=project.name))
    return tuple(found.values())


def _volume(volume: VolumeTemplate) -> Body:
    fields: dict[str, Any] = {
        "driver": volume.driver,
        "driverOpts": dict(volume.driver_opts or {}),
        "external": volume.external,
        "perContainer": volume.per_container,
    }
    name = volume.external_name if volume.external and volume.external_name else volume.name
    return {"name": name, **{key: value for key, value in fields.items() if not is_unset(value)}}
