"""The `data` of the server's requests, typed.

Serialised database rows with their relations expanded, as Rancher 1.6 sends them. Parsing is tolerant: unknown
keys are ignored, any value may be null, numbers may come as strings. A value of a wrong shape still fails the
request with an error that names the path, because guessing would start a container other than the one asked for.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

Scalar = str | int | float | bool | None
"""A map value of the API: the UI and compose files send numbers and booleans where strings are meant."""


def text_map(values: dict[str, Scalar] | None) -> dict[str, str]:
    """Map values as the strings Docker wants; null becomes the empty string."""
    return {key: _text(value) for key, value in (values or {}).items()}


def _text(value: Scalar) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


class _Row(msgspec.Struct, rename="camel", omit_defaults=True):
    """Base of all rows: camelCase on the wire, every field optional."""


class LogConfig(_Row):
    driver: str | None = None
    config: dict[str, Scalar] | None = None


class RestartPolicy(_Row):
    name: str | None = None
    maximum_retry_count: int | None = None


class Ulimit(_Row):
    name: str | None = None
    soft: int | None = None
    hard: int | None = None


class BlkioDeviceOption(_Row):
    weight: int | None = None
    read_iops: int | None = None
    write_iops: int | None = None
    read_bps: int | None = None
    write_bps: int | None = None


class Build(_Row):
    context: str | None = None
    remote: str | None = None
    dockerfile: str | None = None
    tag: str | None = None
    nocache: bool | None = None
    rm: bool | None = None
    forcerm: bool | None = None


class ContainerFields(_Row):
    """`instance.data.fields`: the API's container fields."""

    image_uuid: str | None = None
    command: list[str] | str | None = None
    entry_point: list[str] | str | None = None
    environment: dict[str, Scalar] | None = None
    labels: dict[str, Scalar] | None = None
    working_dir: str | None = None
    user: str | None = None
    tty: bool | None = None
    stdin_open: bool | None = None
    domain_name: str | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    health_cmd: list[str] | None = None
    health_interval: int | None = None
    health_timeout: int | None = None
    health_retries: int | None = None
    privileged: bool | None = None
    read_only: bool | None = None
    publish_all_ports: bool | None = None
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    devices: list[str] | None = None
    security_opt: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    dns: list[str] | None = None
    dns_search: list[str] | None = None
    dns_opt: list[str] | None = None
    pid_mode: str | None = None
    ipc_mode: str | None = None
    uts: str | None = None
    userns_mode: str | None = None
    cgroup: str | None = None
    cgroup_parent: str | None = None
    log_config: LogConfig | None = None
    restart_policy: RestartPolicy | None = None
    memory: int | None = None
    memory_swap: int | None = None
    kernel_memory: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    oom_score_adj: int | None = None
    shm_size: int | None = None
    pids_limit: int | None = None
    disk_quota: int | None = None
    cpu_shares: int | None = None
    cpu_set: str | None = None
    cpu_set_mems: str | None = None
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpu_realtime_period: int | None = None
    cpu_realtime_runtime: int | None = None
    blkio_weight: int | None = None
    blkio_device_options: dict[str, BlkioDeviceOption] | None = None
    tmpfs: dict[str, Scalar] | None = None
    sysctls: dict[str, Scalar] | None = None
    storage_opt: dict[str, Scalar] | None = None
    ulimits: list[Ulimit] | None = None
    run_init: bool | None = None
    data_volumes: list[str] | None = None
    volume_driver: str | None = None
    isolation: str | None = None
    cpu_count: int | None = None
    cpu_percent: int | None = None
    io_maximum_iops: int | None = msgspec.field(default=None, name="ioMaximumIOps")
    io_maximum_bandwidth: int | None = None


class InspectConfig(_Row):
    env: list[str] | None = msgspec.field(default=None, name="Env")


class StoredInspect(_Row):
    """What is read of a link target's last inspect: its environment."""

    config: InspectConfig | None = msgspec.field(default=None, name="Config")


class InstanceData(_Row):
    fields: ContainerFields | None = None
    docker_inspect: StoredInspect | None = None


class Subnet(_Row):
    cidr_size: int | None = None


class IpAddress(_Row):
    address: str | None = None
    role: str | None = None
    subnet: Subnet | None = None


class Network(_Row):
    kind: str | None = None
    name: str | None = None


class Nic(_Row):
    mac_address: str | None = None
    device_number: int | None = None
    ip_addresses: list[IpAddress] | None = None
    network: Network | None = None


class PortFields(_Row):
    bind_address: str | None = None


class PortData(_Row):
    fields: PortFields | None = None


class Port(_Row):
    private_port: int | None = None
    public_port: int | None = None
    protocol: str | None = None
    data: PortData | None = None


class CredentialFields(_Row):
    server_address: str | None = None
    email: str | None = None


class CredentialData(_Row):
    fields: CredentialFields | None = None


class Registry(_Row):
    data: CredentialData | None = None


class RegistryCredential(_Row):
    """A registry account. `secret_value` is clear text: never log or echo this object."""

    public_value: str | None = None
    secret_value: str | None = None
    data: CredentialData | None = None
    registry: Registry | None = None

    def __repr__(self) -> str:
        return f"RegistryCredential(public_value={self.public_value!r}, secret_value=***)"


class DockerImage(_Row):
    full_name: str | None = None
    server: str | None = None


class ImageFields(_Row):
    build: Build | None = None


class ImageData(_Row):
    docker_image: DockerImage | None = None
    fields: ImageFields | None = None


class Image(_Row):
    id: int | str | None = None
    name: str | None = None
    data: ImageData | None = None
    registry_credential: RegistryCredential | None = None


class LinkPort(_Row):
    private_port: int | None = None
    protocol: str | None = None


class LinkFields(_Row):
    instance_names: list[str] | None = None
    ports: list[LinkPort] | None = None


class LinkData(_Row):
    fields: LinkFields | None = None


class VolumeFields(_Row):
    driver: str | None = None
    driver_opts: dict[str, Scalar] | None = None
    is_host_path: bool | None = None


class VolumeData(_Row):
    fields: VolumeFields | None = None


class Instance(_Row):
    """One container as the server knows it."""

    id: int | str | None = None
    uuid: str | None = None
    name: str | None = None
    kind: str | None = None
    state: str | None = None
    external_id: str | None = None
    hostname: str | None = None
    agent_id: int | str | None = None
    native_container: bool | None = None
    system: bool | None = None
    milli_cpu_reservation: int | None = None
    memory_reservation: int | None = None
    data: InstanceData | None = None
    image: Image | None = None
    ports: list[Port] | None = None
    nics: list[Nic] | None = None
    instance_links: list[InstanceLink] | None = None
    network_container: Instance | None = None
    data_volumes_from_containers: list[Instance] | None = None
    volumes_from_data_volume_mounts: list[Volume] | None = None

    @property
    def fields(self) -> ContainerFields:
        """The API fields; an empty set when the row carries none."""
        return (self.data and self.data.fields) or ContainerFields()

    @property
    def labels(self) -> dict[str, str]:
        return text_map(self.fields.labels)

    @property
    def network_kind(self) -> str:
        """Kind of the first nic's network; empty = the daemon's default bridge."""
        nic = self.nics[0] if self.nics else None
        return (nic and nic.network and nic.network.kind) or ""


class InstanceLink(_Row):
    link_name: str | None = None
    target_instance: Instance | None = None
    data: LinkData | None = None


class Volume(_Row):
    id: int | str | None = None
    name: str | None = None
    uri: str | None = None
    device_number: int | None = None
    instance: Instance | None = None
    data: VolumeData | None = None

    @property
    def fields(self) -> VolumeFields:
        return (self.data and self.data.fields) or VolumeFields()

    @property
    def driver(self) -> str:
        return self.fields.driver or ""


class InstanceHostMap(_Row, kw_only=True):
    id: int | str | None = None
    state: str | None = None
    instance: Instance


class ProcessData(_Row):
    container_no_op_event: bool | None = None
    timeout: int | float | None = None


class InstanceRequest(_Row, kw_only=True):
    """`compute.instance.activate`, `.deactivate`, `.remove`."""

    instance_host_map: InstanceHostMap
    process_data: ProcessData | None = None

    @property
    def no_op(self) -> bool:
        """The container was changed by somebody else already; only report it."""
        return bool(self.process_data and self.process_data.container_no_op_event)


class ForceStop(_Row):
    kind: str | None = None
    id: str | None = None


class ForceStopRequest(_Row, kw_only=True):
    instance_force_stop: ForceStop


class InspectTarget(_Row):
    kind: str | None = None
    id: str | None = None
    name: str | None = None


class InspectRequest(_Row, kw_only=True):
    instance_inspect: InspectTarget


class Pull(_Row):
    kind: str | None = None
    image: Image | None = None
    mode: str | None = None
    complete: bool | None = None
    tag: str | None = None


class PullRequest(_Row, kw_only=True):
    instance_pull: Pull


class ImageStoragePoolMap(_Row, kw_only=True):
    id: int | str | None = None
    image: Image


class ImageRequest(_Row, kw_only=True):
    image_storage_pool_map: ImageStoragePoolMap
    process_data: ProcessData | None = None


class VolumeStoragePoolMap(_Row, kw_only=True):
    id: int | str | None = None
    volume: Volume


class VolumeRequest(_Row, kw_only=True):
    volume_storage_pool_map: VolumeStoragePoolMap


class HostCleanup(_Row):
    """The programs to run once, as containers, and the names of the volumes to remove."""

    programs: list[InstanceHostMap] | None = None
    volumes: list[str] | None = None


class HostCleanupRequest(_Row, kw_only=True):
    """`host.cleanup`, which only Drover's server sends."""

    host_cleanup: HostCleanup


class ConfigItem(_Row):
    name: str | None = None
    requested_version: int | None = None


class ConfigUpdateRequest(_Row):
    config_url: str | None = None
    items: list[ConfigItem] | None = None


T = TypeVar("T")


def decode(data: msgspec.Raw | bytes | Any, kind: type[T]) -> T:
    """Reads a request's data. Raises `msgspec.ValidationError` naming the path that does not fit."""
    if isinstance(data, (msgspec.Raw, bytes)):
        return msgspec.json.decode(data, type=kind, strict=False)
    return msgspec.convert(data, kind, strict=False)
