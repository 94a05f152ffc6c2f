"""An environment of some size for the DNS bench, the stream that tells of it, and the same names for its rivals."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from aiohttp import web

from drover.client.world import (
    Change,
    Container,
    Environment,
    Full,
    HealthCheck,
    Host,
    Membership,
    Object,
    Service,
    Stack,
    encode_frame,
)

ENVIRONMENT = "environment"
ZONE = "rancher.internal"
_KEEPALIVE_SECONDS = 15.0


@dataclass(slots=True)
class BenchWorld:
    """``hosts`` hosts, and ``containers`` spread evenly over them and over ``services`` in stacks of ten."""

    hosts: int
    services: int
    containers: int
    revision: int = 1
    members: list[Container] = field(default_factory=list)
    addresses: dict[str, list[str]] = field(default_factory=dict)
    """Of every name, service or container."""
    changes: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)

    def objects(self) -> list[Object]:
        found: list[Object] = [Environment(uuid=ENVIRONMENT, name="default")]
        found += [
            Host(uuid=f"host-{n}", agent_ip=f"172.16.{n // 250}.{n % 250 + 1}", environment_uuid=ENVIRONMENT)
            for n in range(self.hosts)
        ]
        found += [Stack(uuid=f"stack-{n}", name=f"stack{n}") for n in range(self.services // 10)]
        services = [self._service(n) for n in range(self.services)]
        self.members = [self._container(n, services[n % self.services]) for n in range(self.containers)]
        return [*found, *services, *self.members]

    def _service(self, number: int) -> Service:
        stack = number // 10
        return Service(
            uuid=f"service-{number}",
            name=f"service{number % 10}",
            stack_name=f"stack{stack}",
            stack_uuid=f"stack-{stack}",
            environment_uuid=ENVIRONMENT,
            state="active",
            scale=self.containers // self.services,
            links={f"stack{stack}/service{(number + 1) % 10}": "next"},
            health_check=HealthCheck(port=80),
        )

    def _container(self, number: int, service: Service) -> Container:
        name = f"{service.stack_name}-{service.name}-{number // self.services + 1}"
        address = f"10.42.{number // 250}.{number % 250 + 1}"
        stack_service = f"{service.stack_name}.{ZONE}", f"{service.name}.{service.stack_name}.{ZONE}"
        self.addresses.setdefault(stack_service[1], []).append(address)
        self.addresses[f"{name}.{ZONE}"] = [address]
        return Container(
            uuid=f"00000000-0000-4000-8000-{number:012}",
            name=name,
            state="running",
            environment_uuid=ENVIRONMENT,
            host_uuid=f"host-{number % self.hosts}",
            external_id=f"{number:064x}",
            primary_ip=address,
            primary_mac_address=f"02:00:00:00:{number // 256:02x}:{number % 256:02x}",
            ips=(address,),
            labels={
                "io.rancher.project.name": service.stack_name or "",
                "io.rancher.project_service.name": f"{service.stack_name}/{service.name}",
                "io.rancher.stack.name": service.stack_name or "",
                "io.rancher.stack_service.name": f"{service.stack_name}/{service.name}",
                "io.rancher.container.uuid": f"00000000-0000-4000-8000-{number:012}",
                "io.rancher.container.name": name,
                "io.rancher.container.ip": f"{address}/16",
                "io.rancher.cni.network": "managed",
            },
            create_index=number,
            start_count=1,
            health_state="healthy",
            network_uuid="network",
            dns=("169.254.169.250",),
            dns_search=(*stack_service, ZONE),
            memberships=(Membership(service.uuid, service.name),),
        )

    def flip(self, number: int) -> None:
        """Tell that one container's health changed."""
        former = self.members[number]
        state = "unhealthy" if former.health_state == "healthy" else "healthy"
        self.members[number] = now = msgspec.structs.replace(former, health_state=state)
        frame = Change("bench", self.revision, self.revision + 1, changed=(now,))
        self.revision += 1
        self.changes.put_nowait(encode_frame(frame))

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """The local stream of a host's metadata service. Yields its address."""
        first = encode_frame(Full("bench", self.revision, tuple(self.objects()), host="host-0"))

        async def stream(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await response.prepare(request)
            await response.write(first + b"\n\n")
            with contextlib.suppress(ConnectionResetError):  # the program ended
                while True:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_KEEPALIVE_SECONDS):
                            await response.write(await self.changes.get())
                    await response.write(b"\n")
            return response

        app = web.Application()
        app.router.add_get("/drover/1/world", stream)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    def write_questions(self, path: Path) -> None:
        """Every name, in an order that no cache can guess."""
        names = list(self.addresses)
        random.Random(1).shuffle(names)
        path.write_text("".join(f"{name} A\n" for name in names))

    def write_hosts(self, path: Path) -> None:
        lines = (f"{address} {name}\n" for name, found in self.addresses.items() for address in found)
        path.write_text("".join(lines))

    def write_zone(self, path: Path) -> None:
        head = f"$ORIGIN {ZONE}.\n$TTL 600\n@ SOA ns root 1 60 10 86400 1\n@ NS ns\nns A 127.0.0.1\n"
        lines = (f"{name}. A {address}\n" for name, found in self.addresses.items() for address in found)
        path.write_text(head + "".join(lines))
