import pytest

from drover.client.api import ApiClient
from drover.client.errors import Ambiguous, NoMatch
from drover.client.lookup import containers_of, lookup, natural_key
from drover.client.resource import Resource
from tests.wire import WireServer

pytestmark = pytest.mark.anyio


async def test_an_id_costs_one_request(server: WireServer, client: ApiClient) -> None:
    raw = server.add("service", name="web")
    found = await lookup(client, raw["id"], ["service", "container", "host", "stack"])
    assert found.name == "web"
    assert len(server.requests) == 1


async def test_names_are_looked_for_in_all_types(server: WireServer, client: ApiClient) -> None:
    server.add("container", name="worker")
    found = await lookup(client, "worker", ["service", "container"])
    assert found.type == "container"


async def test_service_of_a_stack(server: WireServer, client: ApiClient) -> None:
    shop = server.add("stack", name="shop")
    blog = server.add("stack", name="blog")
    server.add("service", name="web", stackId=shop["id"])
    other = server.add("service", name="web", stackId=blog["id"])
    assert (await lookup(client, "blog/web", ["service"])).id == other["id"]
    with pytest.raises(Ambiguous, match="service web"):
        await lookup(client, "web", ["service"])
    with pytest.raises(NoMatch, match="no service 'none/web'"):
        await lookup(client, "none/web", ["service"])


async def test_a_container_by_its_place(server: WireServer, client: ApiClient) -> None:
    server.add("stack", name="shop")
    raw = server.add("container", name="shop-web-2")
    assert (await lookup(client, "shop/web/2", ["service", "container"])).id == raw["id"]


async def test_hosts_are_known_by_their_machine(server: WireServer, client: ApiClient) -> None:
    raw = server.add("host", name="", hostname="node1.example.com")
    assert (await lookup(client, "node1.example.com", ["host"])).id == raw["id"]


async def test_removed_things_are_not_found(server: WireServer, client: ApiClient) -> None:
    raw = server.add("service", name="web", removed="2019-02-03T10:11:12Z", state="removed")
    with pytest.raises(NoMatch, match="no service or container"):
        await lookup(client, "web", ["service", "container"])
    with pytest.raises(NoMatch):
        await lookup(client, raw["id"], ["service"])


async def test_containers_of_a_service_in_natural_order(server: WireServer, client: ApiClient) -> None:
    ids = [server.add("container", name=f"shop-web-{number}")["id"] for number in (10, 2, 1)]
    service = Resource(server.add("service", name="web", instanceIds=ids))
    names = [container.name for container in await containers_of(client, service)]
    assert names == ["shop-web-1", "shop-web-2", "shop-web-10"]


def test_natural_key_sorts_mixed_names() -> None:
    assert sorted(["b10", "b2", "a", "10"], key=natural_key) == ["10", "a", "b2", "b10"]
