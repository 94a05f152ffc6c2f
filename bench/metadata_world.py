"""An environment of some size for the metadata bench, and the server that tells of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from bench.processes import BenchError
from drover.client.world import (
    Change,
    Container,
    Environment,
    Full,
    Host,
    Membership,
    Network,
    Object,
    Service,
    Stack,
    encode_frame,
)

_ENVIRONMENT = "11111111-0000-4000-8000-000000000000"
_NETWORK = "22222222-0000-4000-8000-000000000000"
_SERVICES_OF_A_STACK = 2


class MetadataWorld:
    """``containers`` spread evenly over ``hosts`` and ``services``, each as full of labels as a real one."""

    def __init__(self, hosts: int, services: int, containers: int) -> None:
        self._hosts, self._services = hosts, services
        self._socket: web.WebSocketResponse | None = None
        self.revision = 1
        self.members = [self._container(number) for number in range(containers)]

    def objects(self) -> list[Object]:
        found: list[Object] = [Environment(uuid=_ENVIRONMENT, name="default"), Network(uuid=_NETWORK, name="ipsec")]
        found += map(self._host, range(self._hosts))
        stacks = range(self._services // _SERVICES_OF_A_STACK)
        found += [Stack(uuid=_uuid("3", n), name=f"stack{n}", environment_uuid=_ENVIRONMENT) for n in stacks]
        found += map(self._service, range(self._services))
        return [*found, *self.members]

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """The address of a server that sends this world to the metadata program, and then every change."""
        app = web.Application()
        app.router.add_get("/v2-beta/world", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def flip(self, number: int) -> None:
        """One container starts again, and everybody is told."""
        if self._socket is None:
            raise BenchError("the metadata program is not connected")
        before = self.members[number]
        self.members[number] = msgspec.structs.replace(before, start_count=(before.start_count or 0) + 1)
        self.revision += 1
        change = Change("e", self.revision - 1, self.revision, changed=(self.members[number],))
        await self._socket.send_str(encode_frame(change).decode())

    async def _answer(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        everything = Full("e", self.revision, tuple(self.objects()), _uuid("4", 1))
        await socket.send_str(encode_frame(everything).decode())
        self._socket = socket
        async for _ in socket:
            pass
        return socket

    def _host(self, number: int) -> Host:
        return Host(
            uuid=_uuid("4", number),
            name=f"host{number}",
            agent_ip=f"172.16.0.{number + 1}",
            state="active",
            environment_uuid=_ENVIRONMENT,
            labels={"io.rancher.host.docker_version": "20.10", "io.rancher.host.linux_kernel_version": "6.1"},
            memory=8 << 30,
            milli_cpu=4000,
        )

    def _service(self, number: int) -> Service:
        stack = number // _SERVICES_OF_A_STACK
        return Service(
            uuid=_uuid("5", number),
            name=f"service{number}",
            state="active",
            environment_uuid=_ENVIRONMENT,
            stack_uuid=_uuid("3", stack),
            stack_name=f"stack{stack}",
            primary_service_name=f"service{number}",
            scale=10,
            labels={"io.rancher.service.hash": "b" * 40},
            token="t" * 40,
        )

    def _container(self, number: int) -> Container:
        service = number % self._services
        stack = service // _SERVICES_OF_A_STACK
        address = f"10.42.{number // 250}.{number % 250 + 1}"
        index = str(number // self._services + 1)
        name = f"stack{stack}-service{service}-{index}"
        return Container(
            uuid=_uuid("6", number),
            name=name,
            state="running",
            environment_uuid=_ENVIRONMENT,
            host_uuid=_uuid("4", number % self._hosts),
            host_ip=f"172.16.0.{number % self._hosts + 1}",
            external_id=f"{number:064x}",
            primary_ip=address,
            primary_mac_address=f"02:aa:bb:cc:{number // 256:02x}:{number % 256:02x}",
            ips=(address,),
            labels={
                "io.rancher.stack.name": f"stack{stack}",
                "io.rancher.stack_service.name": f"stack{stack}/service{service}",
                "io.rancher.container.uuid": _uuid("6", number),
                "io.rancher.container.ip": f"{address}/16",
                "io.rancher.container.name": name,
                "io.rancher.cni.network": "ipsec",
            },
            create_index=int(index),
            start_count=1,
            service_index=index,
            health_state="healthy",
            network_uuid=_NETWORK,
            dns=("169.254.169.250",),
            dns_search=(
                f"stack{stack}.rancher.internal",
                f"service{service}.stack{stack}.rancher.internal",
                "rancher.internal",
            ),
            memberships=(Membership(service_uuid=_uuid("5", service), service_name=f"service{service}"),),
        )


def _uuid(kind: str, number: int) -> str:
    return f"{kind * 8}-{number:04x}-4000-8000-{number:012x}"
