"""Control programs die one after the other: what is established goes on, and everything is back soon after."""

import asyncio
import time
from functools import partial

import pytest

from tests.e2e.conversation import Conversation, everything_works, is_back, restored
from tests.e2e.plane import Plane
from tests.e2e.waiting import eventually

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.parametrize("planes", ["VXLAN"], indirect=True, ids=["vxlan"]),
]


@pytest.mark.parametrize(
    "service",
    [
        "network-services/metadata",
        "network-services/metadata/dns",
        "network-services/network-manager",
        "vxlan/vxlan/router",
        "healthcheck/healthcheck",
    ],
)
async def test_a_program_of_the_host_dies(plane: Plane, conversation: Conversation, service: str) -> None:
    before = {each.identity for each in await plane.on_engines("talk")}
    victims = [await plane.system_container(host, service) for host in ("host1", "host2")]
    for victim in victims:
        await plane.engines.kill(victim)
    began = time.monotonic()
    for victim in victims:
        await eventually(partial(is_back, plane, service, victim), bool, what=f"{service} is back on {victim.host}")
    back = time.monotonic()
    print(f"{service}: back after {back - began:.1f} s")
    await restored(plane, back)
    await conversation.goes_on()
    assert {each.identity for each in await plane.on_engines("talk")} == before, "user containers were touched"


async def test_the_agent_dies(plane: Plane, conversation: Conversation) -> None:
    await plane.host("host1").kill_agent()
    await eventually(lambda: everything_works(plane), bool, what="the data plane works without an agent")
    await conversation.goes_on()
    began = time.monotonic()
    await plane.join(plane.host("host1"))
    await restored(plane, began)
    await conversation.goes_on()


async def test_the_server_dies(plane: Plane, conversation: Conversation) -> None:
    await plane.lab.kill_server()
    await eventually(lambda: everything_works(plane), bool, what="the data plane works without a server")
    await conversation.goes_on()
    began = time.monotonic()
    await plane.lab.start_server()
    await plane.up("after", {"one": plane.shell()})
    await restored(plane, began)
    await conversation.goes_on()


async def test_the_engine_dies(plane: Plane, conversation: Conversation) -> None:
    """Containers talk on without dockerd; when it returns it ends those it lost, and the services bring them back."""
    await plane.host("host1").kill_engine()
    await conversation.goes_on()
    began = time.monotonic()
    await plane.host("host1").start_engine()
    await plane.until_ready()
    await restored(plane, began)


async def test_a_host_that_was_cut_off_comes_back_as_it_was(plane: Plane, conversation: Conversation) -> None:
    await plane.up("many", {"web": plane.web()}, {"web": 6})
    before = {each.identity for each in await plane.on_engines("many")}
    host = plane.host("host2")
    await host.cut_network()
    await asyncio.sleep(60)
    await host.restore_network()
    began = time.monotonic()
    after = await eventually(
        lambda: plane.of_service("many/web"),
        lambda found: len(found) == 6 and all(each.running for each in found),
        what="six containers, no more and no fewer",
        timeout=180,
    )
    await plane.until_agreed("many")
    await plane.until_ready()
    await restored(plane, began)
    kept = len(before & {each.identity for each in after})
    print(f"settled {time.monotonic() - began:.1f} s after the cable was back; {kept} of 6 containers are the same")
    assert len({each.name for each in after}) == 6
