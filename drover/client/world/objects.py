"""What an environment consists of for its hosts, in the words of Rancher 1.6's metadata service.

Names keep the case they were created with; a tree that lowers them does so when it is rendered. ``None`` stands for
JSON null; on the wire, fields that have their default are left out. An object is identified within its kind by its
``key``. Three fields exist on the wire only and no metadata tree shows them: ``Container.host_ip``,
``Container.memberships``, and ``Service.token`` outside ``self/service``.
"""

from __future__ import annotations

from typing import Any

import msgspec


class HealthCheck(msgspec.Struct, frozen=True, omit_defaults=True):
    """Times in milliseconds; None leaves the checker's default."""

    port: int | None = None
    request_line: str | None = None
    interval: int | None = None
    response_timeout: int | None = None
    healthy_threshold: int | None = None
    unhealthy_threshold: int | None = None


class LbRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """A port rule of a load balancer, or (without ``source_port``) of a target. ``service`` is ``stack/service``."""

    source_port: int | None = None
    protocol: str | None = None
    path: str | None = None
    hostname: str | None = None
    service: str | None = None
    target_port: int | None = None
    priority: int | None = None
    backend_name: str | None = None
    selector: str | None = None
    region: str | None = None
    environment: str | None = None
    weight: int | None = None


class Stickiness(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str | None = None
    cookie: str | None = None
    domain: str | None = None
    indirect: bool = False
    nocache: bool = False
    postonly: bool = False
    mode: str | None = None


class LbConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """``certs`` and ``default_cert`` are names of certificates of the environment."""

    certs: tuple[str, ...] = ()
    default_cert: str | None = None
    config: str | None = None
    stickiness_policy: Stickiness | None = None
    port_rules: tuple[LbRule, ...] = ()


class Membership(msgspec.Struct, frozen=True, omit_defaults=True):
    """A container's place in a service; ``service_name`` is the launch configuration's name."""

    service_uuid: str
    service_name: str


class Container(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="metadata_kind", tag="container"):
    """``ports`` are ``[address:]public:private/protocol``, without an address for every address of the host, or
    ``private/protocol`` for a port that is not published."""

    uuid: str
    name: str | None = None
    state: str = ""
    environment_uuid: str = ""
    host_uuid: str | None = None
    host_ip: str | None = None
    hostname: str | None = None
    external_id: str | None = None
    primary_ip: str | None = None
    primary_mac_address: str | None = None
    ips: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    links: dict[str, str] = {}
    create_index: int | None = None
    start_count: int | None = None
    service_index: str | None = None
    health_state: str | None = None
    health_check: HealthCheck | None = None
    health_check_hosts: tuple[str, ...] = ()
    memory_reservation: int | None = None
    milli_cpu_reservation: int | None = None
    network_uuid: str | None = None
    network_from_container_uuid: str | None = None
    system: bool = False
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    memberships: tuple[Membership, ...] = ()

    @property
    def key(self) -> str:
        return self.uuid


class Service(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="metadata_kind", tag="service"):
    """One launch configuration of a service: a sidekick is an object of its own with the same ``uuid``."""

    uuid: str
    name: str
    kind: str = "service"
    state: str = ""
    environment_uuid: str = ""
    stack_uuid: str | None = None
    stack_name: str | None = None
    primary_service_name: str | None = None
    sidekicks: tuple[str, ...] = ()
    scale: int | None = None
    create_index: int | None = None
    system: bool = False
    hostname: str | None = None
    external_ips: tuple[str, ...] = ()
    vip: str | None = None
    fqdn: str | None = None
    ports: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    links: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    health_check: HealthCheck | None = None
    lb_config: LbConfig | None = None
    token: str | None = None

    @property
    def key(self) -> str:
        return f"{self.uuid}_{self.name}".lower()

    @property
    def is_primary(self) -> bool:
        return self.primary_service_name is None or self.primary_service_name == self.name


class Stack(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="metadata_kind", tag="stack"):
    uuid: str
    name: str
    environment_uuid: str = ""
    environment_name: str | None = None
    system: bool = False

    @property
    def key(self) -> str:
        return self.uuid


class Host(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="metadata_kind", tag="host"):
    """``memory`` in bytes, ``milli_cpu`` 1,000 a core; ``hostId`` is the number that trees before 2016-07-29 show."""

    uuid: str
    name: str | None = None
    hostname: str | None = None
    agent_ip: str | None = None
    state: str = ""
    agent_state: str | None = None
    environment_uuid: str = ""
    labels: dict[str, str] = {}
    memory: int | None = None
    milli_cpu: int | None = None
    local_storage_mb: int | None = None
    hostId: int | None = None  # noqa: N815 - the tree's own name

    @property
    def key(self) -> str:
        return self.uuid


class Network(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="metadata_kind", tag="network"):
    uuid: str
    name: str | None = None
    environment_uuid: str = ""
    is_default: bool = False
    host_ports: bool = False
    metadata: dict[str, Any] = {}
    default_policy_action: str | None = None
    policy: list[dict[str, Any]] | None = None

    @property
    def key(self) -> str:
        return self.uuid


class Environment(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="metadata_kind", tag="environment"):
    """The environment itself; exactly one object of this kind is in a world."""

    uuid: str
    name: str = ""
    region_name: str | None = None

    @property
    def key(self) -> str:
        return self.uuid


Object = Container | Service | Stack | Host | Network | Environment
