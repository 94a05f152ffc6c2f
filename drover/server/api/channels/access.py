"""Where streams begin: the actions and links that answer with a URL and a token for it.

Claims, paths and defaults are those of Rancher 1.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from drover.server.api.call import Call
from drover.server.api.channels.tokens import StreamTokens
from drover.server.api.errors import ApiError, not_found
from drover.server.api.extensions import Extensions, Output
from drover.server.api.ids import format_id
from drover.server.store import Record

_CONNECTED = frozenset({"", "active", "reconnected", "finishing-reconnect"})
_DEFAULT_LINES = 100


class StreamAccess:
    """Registers the actions and links that open streams."""

    def __init__(self, tokens: StreamTokens) -> None:
        self._tokens = tokens

    def register(self, extensions: Extensions) -> None:
        extensions.action("execute", "instance")(self.execute)
        extensions.action("logs", "instance")(self.logs)
        extensions.action("console", "instance")(self.console)
        extensions.action("dockersocket", "host")(self.docker_socket)
        extensions.link("stats", "instance", "host")(self.stats)
        extensions.link("hostStats", "host")(self.host_stats)
        extensions.link("containerStats", "instance")(self.container_stats)
        extensions.link("containerStats", "host")(self.host_container_stats)
        extensions.link("containerStats", "service")(self.service_stats)
        extensions.link("hostStats", "account")(self.project_stats)
        extensions.names_links("instance")(_instance_links)
        extensions.names_links("host")(_host_links)
        extensions.names_links("service")(lambda call, record: ("containerStats",))

    async def execute(self, call: Call, record: Record, given: dict[str, Any]) -> Output:
        tty = _flag(given.get("tty"), True)
        claim = {
            "AttachStdin": _flag(given.get("attachStdin"), True),
            "AttachStdout": _flag(given.get("attachStdout"), True),
            # A terminal has one output. Without one, the original lost what a program wrote to standard error.
            "AttachStderr": not tty,
            "Tty": tty,
            "Cmd": [str(each) for each in given.get("command") or []],
            "Container": _container(record),
        }
        return self._access(call, await self._host(call, record), "exec/", {"exec": claim})

    async def logs(self, call: Call, record: Record, given: dict[str, Any]) -> Output:
        lines = given.get("lines")
        claim = {
            "Container": _container(record),
            "Lines": _DEFAULT_LINES if lines is None else int(lines),
            "Follow": _flag(given.get("follow"), True),
            "Timestamps": _flag(given.get("timestamps"), True),
            "Since": str(given.get("since") or ""),
        }
        return self._access(call, await self._host(call, record), "logs/", {"logs": claim})

    async def console(self, call: Call, record: Record, given: dict[str, Any]) -> Output:
        host = await self._host(call, record)
        return self._access(call, host, "console/", {"console": {"container": _container(record)}})

    async def docker_socket(self, call: Call, record: Record, given: dict[str, Any]) -> Output:
        _require_connected(record)
        return self._access(call, record, "dockersocket/", {"dockersocket": {}})

    async def stats(self, call: Call, record: Record) -> Output:
        if record.type == "host":
            return self._stats(call, record, "stats", {"resourceId": _id(call, "host", record.id)})
        host = await self._host(call, record)
        return self._stats(call, host, f"stats/{_container(record)}", {})

    async def host_stats(self, call: Call, record: Record) -> Output:
        return self._stats(call, record, "hoststats", {"resourceId": _id(call, "host", record.id)})

    async def container_stats(self, call: Call, record: Record) -> Output:
        host = await self._host(call, record)
        container = _container(record)
        claims = {"containerIds": {container: _id(call, "instance", record.id)}}
        return self._stats(call, host, f"containerstats/{container}", claims)

    async def host_container_stats(self, call: Call, record: Record) -> Output:
        running = await call.store.find_by("instance", hostId=record.id, state="running", removed=None)
        ids = {str(each["externalId"]): _id(call, "instance", each.id) for each in running if each["externalId"]}
        return self._stats(call, record, "containerstats", {"containerIds": ids})

    async def service_stats(self, call: Call, record: Record) -> Output:
        members = await call.store.find_by("instance", serviceId=record.id, state="running", removed=None)
        hosts = await call.store.get_many("host", [int(m["hostId"]) for m in members if m["hostId"] is not None])
        inner = []
        for member in members:
            host = hosts.get(int(member["hostId"] or 0))
            if host is None or not _connected(host):
                continue
            container = _container(member)
            claims = {"containerIds": {container: _id(call, "instance", member.id)}}
            inner.append(self._inner(call, host, f"containerstats/{container}", claims))
        return self._outer(call, "containerstats/service/", "service", inner)

    async def project_stats(self, call: Call, record: Record) -> Output:
        hosts = await call.store.find_by("host", accountId=record.id, removed=None)
        inner = [
            self._inner(call, host, "hoststats", {"resourceId": _id(call, "host", host.id)})
            for host in hosts
            if _connected(host)
        ]
        return self._outer(call, "hoststats/project/", "project", inner)

    async def _host(self, call: Call, instance: Record) -> Record:
        host = None if instance["hostId"] is None else await call.store.get("host", int(instance["hostId"]))
        if host is None:
            raise not_found(f"{instance.name} runs on no host")
        _require_connected(host)
        return host

    def _access(self, call: Call, host: Record, path: str, claims: Mapping[str, Any]) -> Output:
        token = self._tokens.issue({**claims, "hostUuid": _host_uuid(host)})
        return Output(type="hostAccess", values={"url": _url(call, path), "token": token})

    def _stats(self, call: Call, host: Record, path: str, claims: Mapping[str, Any]) -> Output:
        _require_connected(host)
        token = self._tokens.issue({**claims, "hostUuid": _host_uuid(host)})
        return Output(type="statsAccess", values={"url": _url(call, path), "token": token})

    def _inner(self, call: Call, host: Record, path: str, claims: Mapping[str, Any]) -> dict[str, str]:
        return {"url": _url(call, path), "token": self._tokens.issue({**claims, "hostUuid": _host_uuid(host)})}

    def _outer(self, call: Call, path: str, claim: str, inner: Sequence[Mapping[str, str]]) -> Output:
        return Output(
            type="statsAccess", values={"url": _url(call, path), "token": self._tokens.issue({claim: list(inner)})}
        )


def _instance_links(call: Call, record: Record) -> Sequence[str]:
    return ("stats", "containerStats") if record.state == "running" else ()


def _host_links(call: Call, record: Record) -> Sequence[str]:
    return ("stats", "hostStats", "containerStats")


def _container(record: Record) -> str:
    return str(record["externalId"] or record.uuid)


def _host_uuid(host: Record) -> str:
    return str(host["reportedUuid"] or host.uuid)


def _id(call: Call, type_name: str, row_id: int) -> str:
    schema = call.schemas.get(type_name)
    return str(format_id("1i" if schema is None else schema.id_prefix, row_id))


def _url(call: Call, path: str) -> str:
    """The stream's URL on the host that the client reached us by: ``wss`` when it came by ``https``."""
    parts = urlsplit(call.urls.base)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return f"{scheme}://{parts.netloc}/{call.urls.version}/{path}"


def _connected(host: Record) -> bool:
    return str(host["agentState"] or "") in _CONNECTED


def _require_connected(host: Record) -> None:
    if not _connected(host):
        name = host.name or host["hostname"] or host.id
        raise ApiError(503, None, f"The agent of host {name} is not connected ({host['agentState']}); try again later")


def _flag(value: Any, default: bool) -> bool:
    return default if value is None else bool(value)
