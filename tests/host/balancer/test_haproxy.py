"""HAProxy itself: changes under load cost no request, and most of them no reload."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from drover.host.balancer.haproxy import HAProxy
from drover.host.balancer.model import Backend, Check, Frontend, Model, Protocol, Route, Server, Sticky
from drover.host.balancer.provider import Applied, Rejected
from tests.host.balancer.proxies import (
    HAVE_HAPROXY,
    NOTHING,
    Load,
    Site,
    free_port,
    get,
    haproxy,
    layout,
    running,
    simple,
    sites,
)

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.skipif(not HAVE_HAPROXY, reason="needs HAProxy")]


def server(site: Site, **more: int) -> Server:
    return Server(site.address, site.port, **more)


async def test_scaling_under_load_fails_no_request_and_reloads_nothing(tmp_path: Path) -> None:
    port, target = free_port(), free_port()
    async with haproxy(tmp_path) as proxy, sites(20, port=target) as farm:
        assert await proxy.apply(simple(port, [server(each) for each in farm[:2]]), NOTHING) is Applied.RELOAD
        reloads = proxy.status()["reloads"]
        async with Load(port).running() as load:
            await load.until(50)
            for count in (*range(3, 21), *range(19, 1, -1)):
                model = simple(port, [server(each) for each in farm[:count]])
                assert await proxy.apply(model, NOTHING) is Applied.RUNTIME
                await load.until(40)
                if count == 20:
                    await load.until(200)
                    assert len(load.by_body) == 20
        assert load.failed == []
        assert proxy.status()["reloads"] == reloads


async def test_targets_that_vanish_without_warning_fail_no_request(tmp_path: Path) -> None:
    port, target = free_port(), free_port()
    async with haproxy(tmp_path) as proxy, sites(3, port=target) as farm:
        await proxy.apply(simple(port, [server(each) for each in farm]), NOTHING)
        async with Load(port).running() as load:
            await load.until(50)
            await farm[0].stop()
            await load.until(100)
            await proxy.apply(simple(port, [server(each) for each in farm[1:]]), NOTHING)
            await load.until(50)
        assert load.failed == []


async def test_a_structural_change_under_load_fails_no_request(tmp_path: Path) -> None:
    port, other, target = free_port(), free_port(), free_port()
    async with haproxy(tmp_path) as proxy, sites(2, port=target, delay=0.02) as farm:
        first = simple(port, [server(each) for each in farm])
        second = Model(
            (*first.frontends, Frontend(other, Protocol.HTTP, (Route("web"),))),
            first.backends,
        )
        await proxy.apply(first, NOTHING)
        async with Load(port).running() as load:
            for model in (second, first, second):
                await load.until(40)
                assert await proxy.apply(model, NOTHING) is Applied.RELOAD
            assert (await get(other))[0] == 200
            await load.until(40)
        assert load.failed == []


async def test_a_refused_configuration_leaves_the_former_one_in_force(tmp_path: Path) -> None:
    port, target = free_port(), free_port()
    async with haproxy(tmp_path) as proxy, sites(2, port=target) as farm:
        good = simple(port, [server(farm[0])])
        await proxy.apply(good, NOTHING)
        text = layout(tmp_path).config.read_text()
        reasons = set()
        for _ in range(2):
            with pytest.raises(Rejected, match="no_such_keyword") as refused:
                await proxy.apply(simple(port, [server(farm[0])], custom="backend web\n no_such_keyword 1"), NOTHING)
            reasons.add(str(refused.value))
        assert len(reasons) == 1
        with pytest.raises(Rejected, match="belongs to no section"):
            await proxy.apply(simple(port, [server(farm[0])], custom="balance source"), NOTHING)
        assert layout(tmp_path).config.read_text() == text
        assert (await get(port))[0] == 200
        assert await proxy.apply(simple(port, [server(each) for each in farm]), NOTHING) is Applied.RUNTIME


async def test_weights_and_ports_change_while_it_runs(tmp_path: Path) -> None:
    port, target, second = free_port(), free_port(), free_port()
    async with haproxy(tmp_path) as proxy, sites(2, port=target) as farm, sites(1, port=second) as moved:
        await proxy.apply(simple(port, [server(each) for each in farm]), NOTHING)
        model = simple(port, [server(farm[0], weight=0), server(farm[1])])
        assert await proxy.apply(model, NOTHING) is Applied.RUNTIME
        assert {(await get(port))[1] for _ in range(6)} == {farm[1].address}
        model = simple(port, [server(moved[0]), server(farm[1], weight=0)])
        assert await proxy.apply(model, NOTHING) is Applied.RUNTIME
        assert (await get(port))[0] == 200
        assert moved[0].requests == 1
        assert await proxy.apply(model, NOTHING) is Applied.NOTHING


async def test_a_reload_keeps_what_changed_while_it_ran(tmp_path: Path) -> None:
    """A drained server stays drained, and one that was found down stays down."""
    port, target, dead = free_port(), free_port(), free_port()
    check = Check(port=target, interval=2000, unhealthy_threshold=1, healthy_threshold=1)
    async with haproxy(tmp_path) as proxy, sites(2, port=target) as farm:

        def model(weight: int, custom: str = "") -> Model:
            servers = (server(farm[0], weight=weight), server(farm[1]), Server("127.0.7.77", dead))
            backend = Backend("web", True, servers, check=check)
            return Model((Frontend(port, Protocol.HTTP, (Route("web"),)),), (backend,), custom=custom)

        await proxy.apply(model(5), NOTHING)
        await proxy.apply(model(0), NOTHING)
        await _until_down(proxy, "127.0.7.77")
        await proxy.apply(model(0, "defaults\n timeout client 20s"), NOTHING)
        states = {row["srv_name"]: row["srv_op_state"] for row in await proxy.server_states()}
        assert states[Server("127.0.7.77", dead).name] == "0"
        assert {(await get(port))[1] for _ in range(6)} == {farm[1].address}
        state = layout(tmp_path).state.read_text()
        assert Server("127.0.7.77", dead).name in state
        assert server(farm[1]).name not in state
        await proxy.apply(model(5, "defaults\n timeout client 20s"), NOTHING)
        assert {(await get(port))[1] for _ in range(20)} == {farm[0].address, farm[1].address}


async def _until_down(proxy: HAProxy, address: str) -> None:
    name = Server(address, 1).name
    async with asyncio.timeout(60):
        while True:
            rows = await proxy.server_states()
            if any(row["srv_name"] == name and row["srv_op_state"] == "0" for row in rows):
                return
            await asyncio.sleep(0.05)


async def test_a_removed_server_finishes_what_it_has_and_may_come_back(tmp_path: Path) -> None:
    port, target = free_port(), free_port()
    async with haproxy(tmp_path) as proxy, sites(2, port=target, delay=0.5) as farm:
        both = simple(port, [server(each) for each in farm])
        await proxy.apply(both, NOTHING)
        slow = [asyncio.create_task(get(port)) for _ in range(4)]
        await asyncio.sleep(0.1)
        assert await proxy.sessions(farm[0].address) == 2
        await proxy.apply(simple(port, [server(farm[1])]), NOTHING)
        assert await proxy.apply(both, NOTHING) is Applied.RUNTIME  # the same address again, before the other was gone
        await proxy.apply(simple(port, [server(farm[1])]), NOTHING)
        assert [status for status, _ in await asyncio.gather(*slow)] == [200] * 4
        async with asyncio.timeout(60):
            while proxy.status()["leaving"]:
                await asyncio.sleep(0.1)
        assert server(farm[0]).name not in {row["srv_name"] for row in await proxy.server_states()}
        assert await proxy.apply(both, NOTHING) is Applied.RUNTIME
        assert {(await get(port))[1] for _ in range(4)} == {each.address for each in farm}


async def test_sessions_of_a_former_worker_count_until_they_end(tmp_path: Path) -> None:
    port, target = free_port(), free_port()
    async with haproxy(tmp_path) as proxy, sites(1, port=target, delay=1.0) as farm:
        address = farm[0].address
        await proxy.apply(simple(port, [server(farm[0])]), NOTHING)
        slow = asyncio.create_task(get(port))
        async with asyncio.timeout(60):
            while not farm[0].requests:
                await asyncio.sleep(0.01)
        drained = simple(port, [server(farm[0], weight=0)], custom="defaults\n timeout queue 5s")
        assert await proxy.apply(drained, NOTHING) is Applied.RELOAD
        assert await proxy.sessions(address) == 1
        assert (await slow)[0] == 200
        async with asyncio.timeout(60):
            while await proxy.sessions(address):
                await asyncio.sleep(0.02)


async def test_text_that_looks_like_commands_stays_text(tmp_path: Path) -> None:
    """Server parameters of custom text reach the runtime socket: they must not become commands of their own."""
    port, target = free_port(), free_port()
    async with haproxy(tmp_path) as proxy, sites(2, port=target) as farm:
        custom = "backend web\n server $IP maxconn 50"
        await proxy.apply(simple(port, [server(farm[0])], custom=custom), NOTHING)
        assert await proxy.apply(simple(port, [server(each) for each in farm], custom=custom), NOTHING) is (
            Applied.RUNTIME
        )
        assert {(await get(port))[1] for _ in range(4)} == {each.address for each in farm}
        custom = "backend web\n server $IP maxconn 50;shutdown frontend web"
        with pytest.raises(Rejected):
            await proxy.apply(simple(port, [server(farm[0])], custom=custom), NOTHING)


async def test_visitors_stay_on_their_server(tmp_path: Path) -> None:
    port, target = free_port(), free_port()
    async with haproxy(tmp_path) as proxy, sites(3, port=target) as farm:

        def model(count: int) -> Model:
            backend = Backend("web", True, tuple(server(each) for each in farm[:count]), sticky=Sticky("insert", "SRV"))
            return Model((Frontend(port, Protocol.HTTP, (Route("web"),)),), (backend,))

        await proxy.apply(model(2), NOTHING)
        cookie = f"Cookie: SRV={server(farm[0]).name}\r\n"
        assert {(await get(port, extra=cookie))[1] for _ in range(6)} == {farm[0].address}
        assert (
            await proxy.apply(model(3), NOTHING) is Applied.RELOAD
        )  # HAProxy 2.6 gives cookies to file's servers only
        assert {(await get(port, extra=cookie))[1] for _ in range(6)} == {farm[0].address}


async def test_the_next_controller_takes_over_what_runs(tmp_path: Path) -> None:
    port, target = free_port(), free_port()
    place = layout(tmp_path)
    async with sites(2, port=target) as farm:
        one = HAProxy(place)
        model = simple(port, [server(each) for each in farm])
        task = asyncio.create_task(one.run())
        await one.ready()
        await one.apply(model, NOTHING)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert (await get(port))[0] == 200

        two = HAProxy(place)
        async with running(two):
            assert two.status()["pid"] == one.status()["pid"]
            assert await two.apply(model, NOTHING) is Applied.NOTHING
            assert await two.apply(simple(port, [server(farm[0])]), NOTHING) is Applied.RUNTIME


async def test_haproxy_is_started_again_with_its_last_configuration(tmp_path: Path) -> None:
    port, target = free_port(), free_port()
    async with haproxy(tmp_path) as proxy, sites(1, port=target) as farm:
        await proxy.apply(simple(port, [server(farm[0])]), NOTHING)
        pid = proxy.status()["pid"]
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            while proxy.status()["pid"] == pid or (await get(port))[0] != 200:
                await asyncio.sleep(0.05)


async def test_a_fixed_order_of_servers_is_changed_by_reload(tmp_path: Path) -> None:
    port, target = free_port(), free_port()
    async with haproxy(tmp_path) as proxy, sites(2, port=target) as farm:
        custom = "backend web\n  balance source"
        await proxy.apply(simple(port, [server(farm[0])], custom=custom), NOTHING)
        assert await proxy.apply(simple(port, [server(each) for each in farm], custom=custom), NOTHING) is (
            Applied.RELOAD
        )
        assert (await get(port))[0] == 200
