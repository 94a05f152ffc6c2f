"""Every container field and what it becomes in Docker: one case a row of the mapping.

`body` is what the create call must contain (dotted path -> value); `inspect` is what the engine must then show,
where that differs from the body; `refused` is the engine's error, for rows that this test engine cannot serve.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    instance: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    inspect: dict[str, Any] | None = None
    refused: str | None = None
    dropped: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def nic(kind: str, **more: Any) -> dict[str, Any]:
    return {"nics": [{"deviceNumber": 0, "network": {"kind": kind, "name": "net"}, "ipAddresses": []} | more]}


SECOND = 1_000_000_000
MIB = 1024 * 1024
H = "HostConfig"

CASES = [
    Case("imageUuid", body={"Image": "drover-test/busybox:1"}, inspect={"Config.Image": "drover-test/busybox:1"}),
    Case("command", {"command": ["sleep", "9"]}, body={"Cmd": ["sleep", "9"]}, inspect={"Config.Cmd": ["sleep", "9"]}),
    Case("command as a string is ignored", {"command": "sleep 9"}, absent=("Cmd",)),
    Case("commandArgs is dead", {"command": ["sleep", "9"], "commandArgs": ["x"]}, body={"Cmd": ["sleep", "9"]}),
    Case(
        "entryPoint",
        {"entryPoint": ["/bin/sh", "-c"]},
        body={"Entrypoint": ["/bin/sh", "-c"]},
        inspect={"Config.Entrypoint": ["/bin/sh", "-c"]},
    ),
    Case(
        "environment",
        {"environment": {"A": "1", "EMPTY": None, "N": 5, "B": True}},
        body={"Env": ["A=1", "EMPTY=", "N=5", "B=true"]},
        inspect={"Config.Env[:4]": ["A=1", "EMPTY=", "N=5", "B=true"]},
    ),
    Case(
        "labels win over the agent's",
        {"labels": {"a": "b", "io.rancher.container.name": "mine"}},
        body={"Labels.a": "b", "Labels.io\\.rancher\\.container\\.name": "mine"},
        inspect={"Config.Labels.a": "b"},
    ),
    Case("workingDir", {"workingDir": "/tmp"}, body={"WorkingDir": "/tmp"}, inspect={"Config.WorkingDir": "/tmp"}),
    Case("user", {"user": "1000:1000"}, body={"User": "1000:1000"}, inspect={"Config.User": "1000:1000"}),
    Case("tty", {"tty": True}, body={"Tty": True}, inspect={"Config.Tty": True}),
    Case("stdinOpen", {"stdinOpen": True}, body={"OpenStdin": True}, inspect={"Config.OpenStdin": True}),
    Case(
        "domainName", {"domainName": "d.test"}, body={"Domainname": "d.test"}, inspect={"Config.Domainname": "d.test"}
    ),
    Case("hostname", instance={"hostname": "box"}, body={"Hostname": "box"}, inspect={"Config.Hostname": "box"}),
    Case(
        "stopSignal", {"stopSignal": "SIGINT"}, body={"StopSignal": "SIGINT"}, inspect={"Config.StopSignal": "SIGINT"}
    ),
    Case("stopTimeout", {"stopTimeout": 3}, body={"StopTimeout": 3}, inspect={"Config.StopTimeout": 3}),
    Case(
        "health*",
        {"healthCmd": ["CMD", "true"], "healthInterval": 7, "healthTimeout": 2, "healthRetries": 4},
        body={"Healthcheck": {"Test": ["CMD", "true"], "Interval": 7 * SECOND, "Timeout": 2 * SECOND, "Retries": 4}},
        inspect={"Config.Healthcheck.Interval": 7 * SECOND, "Config.Healthcheck.Retries": 4},
    ),
    Case("privileged", {"privileged": True}, body={f"{H}.Privileged": True}),
    Case("readOnly", {"readOnly": True}, body={f"{H}.ReadonlyRootfs": True}),
    Case("publishAllPorts", {"publishAllPorts": True}, body={f"{H}.PublishAllPorts": True}),
    Case(
        "publishAllPorts without port support",
        {"publishAllPorts": True},
        nic("dockerHost"),
        absent=(f"{H}.PublishAllPorts",),
    ),
    Case("capAdd", {"capAdd": ["NET_ADMIN"]}, body={f"{H}.CapAdd": ["NET_ADMIN"]}),
    Case("capDrop", {"capDrop": ["CHOWN"]}, body={f"{H}.CapDrop": ["CHOWN"]}),
    Case(
        "devices",
        {"devices": ["/dev/null:/dev/x", "/dev/zero:/dev/y:r", "/dev/full"]},
        body={
            f"{H}.Devices": [
                {"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"},
                {"PathOnHost": "/dev/zero", "PathInContainer": "/dev/y", "CgroupPermissions": "r"},
                {"PathOnHost": "/dev/full", "PathInContainer": "/dev/full", "CgroupPermissions": "rwm"},
            ]
        },
    ),
    Case("securityOpt", {"securityOpt": ["seccomp=unconfined"]}, body={f"{H}.SecurityOpt": ["seccomp=unconfined"]}),
    Case("extraHosts", {"extraHosts": ["db:10.0.0.9"]}, body={f"{H}.ExtraHosts": ["db:10.0.0.9"]}),
    Case("groupAdd", {"groupAdd": ["1234"]}, body={f"{H}.GroupAdd": ["1234"]}),
    Case("dns", {"dns": ["169.254.169.250"]}, body={f"{H}.Dns": ["169.254.169.250"]}),
    Case("dnsSearch", {"dnsSearch": ["example.test"]}, body={f"{H}.DnsSearch": ["example.test"]}),
    Case("dnsOpt", {"dnsOpt": ["ndots:2"]}, body={f"{H}.DnsOptions": ["ndots:2"]}),
    Case("pidMode", {"pidMode": "host"}, body={f"{H}.PidMode": "host"}),
    Case("ipcMode", {"ipcMode": "host"}, body={f"{H}.IpcMode": "host"}),
    Case("uts", {"uts": "host"}, body={f"{H}.UTSMode": "host"}),
    Case("usernsMode", {"usernsMode": "host"}, body={f"{H}.UsernsMode": "host"}),
    Case("cgroup", {"cgroup": ""}, absent=(f"{H}.Cgroup",)),
    Case("cgroupParent", {"cgroupParent": "/drover-test"}, body={f"{H}.CgroupParent": "/drover-test"}),
    Case(
        "logConfig",
        {"logConfig": {"driver": "json-file", "config": {"max-size": "1m"}}},
        body={f"{H}.LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}},
    ),
    Case("logConfig without driver", {"logConfig": {"driver": "", "config": {}}}, absent=(f"{H}.LogConfig",)),
    Case(
        "restartPolicy",
        {"restartPolicy": {"name": "on-failure", "maximumRetryCount": 3}},
        body={f"{H}.RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}},
    ),
    Case(
        "restartPolicy always takes no count",
        {"restartPolicy": {"name": "always", "maximumRetryCount": 3}},
        body={f"{H}.RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}},
    ),
    Case("memory", {"memory": 64 * MIB}, body={f"{H}.Memory": 64 * MIB}),
    Case(
        "memorySwap",
        {"memory": 64 * MIB, "memorySwap": 128 * MIB},
        body={f"{H}.MemorySwap": 128 * MIB},
    ),
    Case("memorySwappiness", {"memorySwappiness": 0}, body={f"{H}.MemorySwappiness": 0}),
    Case("oomKillDisable", {"memory": 64 * MIB, "oomKillDisable": True}, body={f"{H}.OomKillDisable": True}),
    Case("oomScoreAdj", {"oomScoreAdj": 100}, body={f"{H}.OomScoreAdj": 100}),
    Case("shmSize", {"shmSize": 32 * MIB}, body={f"{H}.ShmSize": 32 * MIB}),
    Case("pidsLimit", {"pidsLimit": 50}, body={f"{H}.PidsLimit": 50}),
    Case("diskQuota", {"diskQuota": 5}, absent=(f"{H}.DiskQuota",), dropped=("diskQuota",)),
    Case("memoryReservation", instance={"memoryReservation": 32 * MIB}, body={f"{H}.MemoryReservation": 32 * MIB}),
    Case("cpuShares", {"cpuShares": 512}, body={f"{H}.CpuShares": 512}),
    Case("cpuShares below the minimum", {"cpuShares": 1}, body={f"{H}.CpuShares": 2}),
    Case("cpuShares unset", absent=(f"{H}.CpuShares",), inspect={f"{H}.CpuShares": 0}),
    Case(
        "milliCpuReservation wins",
        {"cpuShares": 512},
        {"milliCpuReservation": 200},
        body={f"{H}.CpuShares": 204},
    ),
    Case("cpuSet", {"cpuSet": "0"}, body={f"{H}.CpusetCpus": "0"}),
    Case("cpuSetMems", {"cpuSetMems": "0"}, body={f"{H}.CpusetMems": "0"}),
    Case("cpuPeriod", {"cpuPeriod": 50000}, body={f"{H}.CpuPeriod": 50000}),
    Case("cpuQuota", {"cpuQuota": 25000}, body={f"{H}.CpuQuota": 25000}),
    Case("blkioWeight", {"blkioWeight": 300}, body={f"{H}.BlkioWeight": 300}, inspect={}),
    Case(
        "blkioDeviceOptions",
        {"blkioDeviceOptions": {"/dev/zero": {"readIops": 10, "writeIops": 0, "readBps": 4096, "writeBps": None}}},
        body={
            f"{H}.BlkioDeviceReadIOps": [{"Path": "/dev/zero", "Rate": 10}],
            f"{H}.BlkioDeviceReadBps": [{"Path": "/dev/zero", "Rate": 4096}],
        },
        absent=(f"{H}.BlkioDeviceWriteIOps", f"{H}.BlkioDeviceWriteBps", f"{H}.BlkioWeightDevice"),
    ),
    Case(
        "blkioDeviceOptions of an unknown default disk",
        {"blkioDeviceOptions": {"DEFAULT_DISK": {"readIops": 10}}},
        absent=(f"{H}.BlkioDeviceReadIOps",),
        dropped=("blkioDeviceOptions",),
    ),
    Case("tmpfs", {"tmpfs": {"/run": "size=1m"}}, body={f"{H}.Tmpfs": {"/run": "size=1m"}}),
    Case("sysctls", {"sysctls": {"net.ipv4.ip_forward": 1}}, body={f"{H}.Sysctls": {"net.ipv4.ip_forward": "1"}}),
    Case(
        "storageOpt",
        {"storageOpt": {"size": "1G"}},
        body={f"{H}.StorageOpt": {"size": "1G"}},
        refused="storage-opt is supported only for overlay over xfs",
    ),
    Case(
        "ulimits",
        {"ulimits": [{"name": "nofile", "soft": 100, "hard": 200}]},
        body={f"{H}.Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}]},
    ),
    Case("runInit", {"runInit": False}, body={f"{H}.Init": False}),
    Case(
        "ports",
        instance={
            "ports": [
                {"privatePort": 80, "publicPort": 18081, "protocol": "tcp"},
                {
                    "privatePort": 80,
                    "publicPort": 18082,
                    "protocol": "tcp",
                    "data": {"fields": {"bindAddress": "127.0.0.1"}},
                },
                {"privatePort": 53, "protocol": "udp"},
                {"privatePort": 0, "publicPort": 1, "protocol": "tcp"},
            ]
        },
        body={
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
            f"{H}.PortBindings": {
                "80/tcp": [{"HostIp": "", "HostPort": "18081"}, {"HostIp": "127.0.0.1", "HostPort": "18082"}],
                "53/udp": [{"HostIp": "", "HostPort": ""}],
            },
        },
        inspect={
            f"{H}.PortBindings.80/tcp": [
                {"HostIp": "", "HostPort": "18081"},
                {"HostIp": "127.0.0.1", "HostPort": "18082"},
            ]
        },
    ),
    Case("expose is metadata only", {"expose": ["99"]}, absent=("ExposedPorts",)),
    Case(
        "dataVolumes",
        {"dataVolumes": ["/anonymous", "/tmp:/host", "named:/named:ro"]},
        body={
            "Volumes": {"/anonymous": {}, "/host": {}, "/named": {}},
            f"{H}.Binds": ["/tmp:/host:rw", "named:/named:ro"],
        },
        inspect={f"{H}.Binds": ["/tmp:/host:rw", "named:/named:ro"]},
    ),
    Case("volumeDriver", {"volumeDriver": "local"}, body={f"{H}.VolumeDriver": "local"}),
    Case(
        "networkMode host",
        instance={**nic("dockerHost"), "hostname": "x"},
        body={f"{H}.NetworkMode": "host"},
        absent=("Hostname",),
    ),
    Case(
        "networkMode none",
        instance={**nic("dockerNone"), "hostname": "x"},
        body={f"{H}.NetworkMode": "none", "NetworkDisabled": True, "Hostname": "x"},
        inspect={f"{H}.NetworkMode": "none", "Config.NetworkDisabled": True},
    ),
    Case("networkMode bridge", absent=(f"{H}.NetworkMode",), inspect={f"{H}.NetworkMode": "default"}),
    Case(
        "mac address",
        instance=nic("dockerBridge", macAddress="02:42:ac:1e:00:99"),
        body={"MacAddress": "02:42:ac:1e:00:99", "Labels.io\\.rancher\\.container\\.mac_address": "02:42:ac:1e:00:99"},
        inspect={"Config.MacAddress": "02:42:ac:1e:00:99"},
    ),
    Case(
        "no ports on the host network",
        instance={**nic("dockerHost"), "ports": [{"privatePort": 80, "publicPort": 80, "protocol": "tcp"}]},
        absent=("ExposedPorts", f"{H}.PortBindings"),
    ),
    Case(
        "requestedIpAddress becomes a label",
        instance=nic(
            "dockerBridge", ipAddresses=[{"address": "10.42.1.7", "role": "primary", "subnet": {"cidrSize": 16}}]
        ),
        body={"Labels.io\\.rancher\\.container\\.ip": "10.42.1.7/16"},
        inspect={},
    ),
    Case("agentId", instance={"agentId": 9}, body={"Labels.io\\.rancher\\.container\\.agent_id": "9"}, inspect={}),
    Case("isolation", {"isolation": "hyperv"}, absent=(f"{H}.Isolation",), dropped=("isolation",)),
    Case("cpuCount", {"cpuCount": 1}, absent=(f"{H}.CpuCount",), dropped=("cpuCount",)),
    Case("cpuPercent", {"cpuPercent": 1}, absent=(f"{H}.CpuPercent",), dropped=("cpuPercent",)),
    Case("ioMaximumIOps", {"ioMaximumIOps": 1}, absent=(f"{H}.IOMaximumIOps",), dropped=("ioMaximumIOps",)),
    Case(
        "ioMaximumBandwidth",
        {"ioMaximumBandwidth": 1},
        absent=(f"{H}.IOMaximumBandwidth",),
        dropped=("ioMaximumBandwidth",),
    ),
    Case(
        "ip, ip6, netAlias, lxcConf are not applied", {"ip": "1.2.3.4", "ip6": "::1", "netAlias": ["x"], "lxcConf": {}}
    ),
    Case(
        "null everywhere", dict.fromkeys(("environment", "labels", "tty", "memory", "dns", "ports", "ulimits", "tmpfs"))
    ),
]

ENGINE_DEPENDENT = [
    Case("kernelMemory", {"memory": 64 * MIB, "kernelMemory": 32 * MIB}, body={f"{H}.KernelMemory": 32 * MIB}),
    Case("cpuRealtimePeriod", {"cpuRealtimePeriod": 1000000}, body={f"{H}.CpuRealtimePeriod": 1000000}),
    Case("cpuRealtimeRuntime", {"cpuRealtimeRuntime": 1000}, body={f"{H}.CpuRealtimeRuntime": 1000}),
]
"""Sent where the engine has them, dropped with a reason elsewhere."""

MISSING = object()


def lookup(document: Any, path: str) -> Any:
    """A value by dotted path; `\\.` is a dot in a key, `[:n]` takes the first n of a list."""
    limit: int | None = None
    if path.endswith("]"):
        path, _, tail = path.rpartition("[:")
        limit = int(tail[:-1])
    for part in path.replace("\\.", "\0").split("."):
        key = part.replace("\0", ".")
        if not isinstance(document, dict) or key not in document:
            return MISSING
        document = document[key]
    return document[:limit] if limit is not None else document
