"""What a pair of compose files means, typed and complete: the result of `load_project`.

Everything here is immutable. A field that is None (or a collection that is None) was not written in any file, which is
not the same as an explicit `0`, `false` or empty list: a later file may reset what an earlier one set.

Structs with camel-case names on the wire (`rename="camel"`) become API objects with `msgspec.to_builtins`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol, TypeAlias

import msgspec

from drover.compose.errors import Mark, Problem

#: Zero means not given, as in Rancher 1.6.
Port: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class SourceFile(msgspec.Struct, frozen=True):
    """One compose file: its path as the user knows it, and its text. Relative paths inside count from its folder."""

    path: str
    text: str


class FileSource(Protocol):
    """Access to the files next to a compose file. Only the command line has one; a server never does."""

    def read(self, path: str) -> bytes:
        """The content of an absolute or working-directory-relative path. Raises OSError."""
        ...

    def absolute(self, path: str) -> str:
        """The path made absolute, with a leading `~` replaced by the home directory."""
        ...


class QuorumStrategy(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """How many healthy containers must exist before an unhealthy one may be replaced."""

    quorum: int | None = None


class HealthCheck(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A health check made by the hosts (not by Docker). Times in ms; the server fills what is absent."""

    port: Port | None = None
    request_line: str | None = None
    interval: Count | None = None
    response_timeout: Count | None = None
    healthy_threshold: Count | None = None
    unhealthy_threshold: Count | None = None
    initializing_timeout: Count | None = None
    reinitializing_timeout: Count | None = None
    strategy: Literal["none", "recreate", "recreateOnQuorum"] | None = None
    recreate_on_quorum_strategy_config: QuorumStrategy | None = None
    name: str | None = None


class ScalePolicy(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Limits between which the number of containers follows the hosts."""

    min: Positive | None = None
    max: Positive | None = None
    increment: Positive | None = None


class UpgradeStrategy(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Wishes of the file for its upgrades; what the caller asks for comes first."""

    start_first: bool | None = None
    batch_size: int | None = None
    interval_millis: int | None = None


class StorageDriver(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The driver that a storage driver service offers."""

    name: str | None = None
    scope: Literal["local", "environment", "custom"] | None = None
    volume_access_mode: Literal["singleHostRW", "singleInstanceRW", "multiHostRW"] | None = None
    block_device_path: str | None = None
    volume_capabilities: tuple[str, ...] | None = None


class Subnet(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An address range of a default network."""

    network_address: str | None = None
    start_address: str | None = None
    end_address: str | None = None


class DefaultNetwork(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The network that a network driver service creates."""

    name: str | None = None
    host_ports: bool | None = None
    subnets: tuple[Subnet, ...] | None = None
    dns: tuple[str, ...] | None = None
    dns_search: tuple[str, ...] | None = None
    kind: str | None = None


class NetworkDriver(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The driver that a network driver service offers. `cni_config` passes unchanged."""

    name: str | None = None
    default_network: DefaultNetwork | None = None
    cni_config: Mapping[str, Any] | None = None
    network_metadata: Mapping[str, Any] | None = None


class StickinessPolicy(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Cookie stickiness of a balancer."""

    name: str | None = None
    cookie: str | None = None
    domain: str | None = None
    indirect: bool | None = None
    nocache: bool | None = None
    postonly: bool | None = None
    mode: Literal["rewrite", "insert", "prefix"] | None = None


class PortRule(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One rule of a balancer. `service` is `name` or `stack/name`."""

    source_port: Port | None = None
    protocol: Literal["http", "tcp", "https", "tls", "sni", "udp"] | None = None
    path: str | None = None
    hostname: str | None = None
    service: str | None = None
    target_port: Port | None = None
    priority: Count | None = None
    backend_name: str | None = None
    selector: str | None = None
    region: str | None = None
    environment: str | None = None
    weight: Annotated[int, msgspec.Meta(ge=0, le=256)] | None = None


class LbConfig(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A balancer in the form of version 2; `certs` and `default_cert` are names."""

    certs: tuple[str, ...] | None = None
    default_cert: str | None = None
    port_rules: tuple[PortRule, ...] | None = None
    config: str | None = None
    stickiness_policy: StickinessPolicy | None = None


class HaproxyConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Extra text for sections of haproxy.cfg, in the older form."""

    global_: str | None = msgspec.field(default=None, name="global")
    defaults: str | None = None


class LegacyLbConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A balancer in the form that came before `lb_config` (image `rancher/load-balancer-service`)."""

    haproxy_config: HaproxyConfig | None = None
    lb_cookie_stickiness_policy: StickinessPolicy | None = None


class Disk(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A disk of a virtual machine."""

    name: str | None = None
    size: str | None = None
    root: bool | None = None
    driver: str | None = None
    opts: Mapping[str, str] | None = None
    read_iops: int | None = None
    write_iops: int | None = None


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """How an image is built: from a git or http URL, or from a local folder."""

    context: str | None = None
    dockerfile: str | None = None
    args: Mapping[str, str | None] | None = None


class Logging(msgspec.Struct, frozen=True, kw_only=True):
    """Docker log driver and its options."""

    driver: str | None = None
    options: Mapping[str, str] | None = None


class RestartPolicy(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Docker restart policy."""

    name: str
    maximum_retry_count: int = 0


class Ulimit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One resource limit."""

    name: str
    soft: int
    hard: int | None = None


class SecretMount(msgspec.Struct, frozen=True, kw_only=True):
    """A secret in a container. `mode` is octal text such as `400`."""

    source: str
    target: str
    uid: str = ""
    gid: str = ""
    mode: str = ""


class DockerHealthCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Docker's own health check (`healthcheck`); times in seconds."""

    test: tuple[str, ...] | None = None
    interval: int | None = None
    timeout: int | None = None
    retries: int | None = None


class Extends(msgspec.Struct, frozen=True, kw_only=True):
    """A base service, in this file or in another."""

    service: str
    file: str | None = None


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `services` after interpolation, `extends` and merging; field names are the keys of the file.

    Sizes in bytes, `stop_grace_period` in seconds, `drain_timeout_ms` in ms.
    """

    name: str
    mark: Mark

    image: str | None = None
    build: Build | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] | None = None
    labels: Mapping[str, str] | None = None
    ports: tuple[str, ...] | None = None
    expose: tuple[str, ...] | None = None
    volumes: tuple[str, ...] | None = None
    volumes_from: tuple[str, ...] | None = None
    volume_driver: str | None = None
    network_mode: str | None = None
    hostname: str | None = None
    domainname: str | None = None
    dns: tuple[str, ...] | None = None
    dns_opt: tuple[str, ...] | None = None
    dns_search: tuple[str, ...] | None = None
    extra_hosts: tuple[str, ...] | None = None
    cap_add: tuple[str, ...] | None = None
    cap_drop: tuple[str, ...] | None = None
    security_opt: tuple[str, ...] | None = None
    group_add: tuple[str, ...] | None = None
    devices: tuple[str, ...] | None = None
    privileged: bool | None = None
    read_only: bool | None = None
    stdin_open: bool | None = None
    tty: bool | None = None
    init: bool | None = None
    oom_kill_disable: bool | None = None
    user: str | None = None
    working_dir: str | None = None
    pid: str | None = None
    ipc: str | None = None
    uts: str | None = None
    userns_mode: str | None = None
    isolation: str | None = None
    cgroup_parent: str | None = None
    stop_signal: str | None = None
    stop_grace_period: int | None = None
    mem_limit: int | None = None
    mem_reservation: int | None = None
    memswap_limit: int | None = None
    mem_swappiness: int | None = None
    shm_size: int | None = None
    oom_score_adj: int | None = None
    pids_limit: int | None = None
    cpu_shares: int | None = None
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpu_count: int | None = None
    cpu_percent: int | None = None
    cpu_rt_period: int | None = None
    cpu_rt_runtime: int | None = None
    cpus: float | None = None
    cpuset: str | None = None
    milli_cpu_reservation: int | None = None
    blkio_weight: int | None = None
    blkio_weight_device: Mapping[str, int] | None = None
    device_read_bps: Mapping[str, int] | None = None
    device_read_iops: Mapping[str, int] | None = None
    device_write_bps: Mapping[str, int] | None = None
    device_write_iops: Mapping[str, int] | None = None
    ulimits: Mapping[str, Ulimit] | None = None
    sysctls: Mapping[str, str] | None = None
    tmpfs: Mapping[str, str] | None = None
    storage_opt: Mapping[str, str] | None = None
    logging: Logging | None = None
    restart: RestartPolicy | None = None
    healthcheck: DockerHealthCheck | None = None
    drain_timeout_ms: int | None = None
    health_check: HealthCheck | None = None
    secrets: tuple[SecretMount, ...] | None = None

    type: str | None = None
    vcpu: int | None = None
    memory: int | None = None
    userdata: str | None = None
    disks: tuple[Disk, ...] | None = None

    description: str | None = None
    start_on_create: bool | None = None
    scale: int | None = None
    scale_policy: ScalePolicy | None = None
    retain_ip: bool | None = None
    metadata: Mapping[str, Any] | None = None
    links: tuple[str, ...] | None = None
    external_links: tuple[str, ...] | None = None
    external_ips: tuple[str, ...] | None = None
    lb_config: LbConfig | None = None
    load_balancer_config: LegacyLbConfig | None = None
    certs: tuple[str, ...] | None = None
    default_cert: str | None = None
    storage_driver: StorageDriver | None = None
    network_driver: NetworkDriver | None = None
    upgrade_strategy: UpgradeStrategy | None = None
    depends_on: Mapping[str, str] | None = None

    def label(self, name: str) -> str | None:
        """The value of a label, or None."""
        return self.labels.get(name) if self.labels else None

    @property
    def sidekicks(self) -> tuple[str, ...]:
        """Names in the label `io.rancher.sidekicks`, in order."""
        names = (self.label("io.rancher.sidekicks") or "").split(",")
        return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


class VolumeTemplate(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A top-level volume: a template from which the server makes volumes. `name` is the key of the file.

    `external_name` is set when the volume to use has another name.
    """

    name: str
    driver: str | None = None
    driver_opts: Mapping[str, str] | None = None
    external: bool = False
    external_name: str | None = None
    per_container: bool = False


class SecretDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A top-level secret: one that must exist (`external`), or the content of a file."""

    name: str
    external: bool = False
    content: bytes | None = None


class HostDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """Machines to create with the stack; `body` holds the fields of the host API object."""

    name: str
    count: int
    template: str | None
    body: Mapping[str, Any]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question of the catalog section: what answering it on a terminal needs. Defaults are text."""

    variable: str
    label: str = ""
    description: str = ""
    type: str = "string"
    options: tuple[str, ...] = ()
    default: str | None = None
    required: bool = False


class ComposeProject(msgspec.Struct, frozen=True, kw_only=True):
    """A stack as its files describe it. All maps keep the order of the files.

    `services` includes sidekicks; `primary_of` maps each sidekick to the service whose launch config holds it.
    """

    name: str
    services: Mapping[str, Service]
    primary_of: Mapping[str, str]
    volumes: Mapping[str, VolumeTemplate]
    secrets: Mapping[str, SecretDefinition]
    hosts: Mapping[str, HostDefinition]
    questions: tuple[Question, ...]
    warnings: tuple[Problem, ...]

    @property
    def primaries(self) -> tuple[Service, ...]:
        """The services that are not sidekicks."""
        return tuple(service for service in self.services.values() if service.name not in self.primary_of)

    def sidekicks_of(self, name: str) -> tuple[Service, ...]:
        """The sidekicks of a service, in the order of its label."""
        return tuple(self.services[sidekick] for sidekick in self.services[name].sidekicks)
