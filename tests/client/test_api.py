import base64

import pytest

from drover.client.api import ApiClient
from drover.client.errors import (
    Ambiguous,
    ApiError,
    AuthenticationFailed,
    ClientError,
    Conflict,
    ConnectionFailed,
    InvalidRequest,
    NoMatch,
    NotFound,
)
from tests.wire import WireServer

pytestmark = pytest.mark.anyio


async def test_a_list_is_one_request(server: WireServer, client: ApiClient) -> None:
    server.add("service", name="web")
    services = await client.list("service")
    assert [service.name for service in services] == ["web"]
    assert server.requests == ["GET /v2-beta/projects/1a5/services?limit=1000"]
    expected = base64.b64encode(b"key:secret").decode()
    assert server.headers[0]["Authorization"] == f"Basic {expected}"


async def test_all_pages_are_read_whatever_host_the_links_name(server: WireServer, client: ApiClient) -> None:
    server.page_size = 2
    for number in range(5):
        server.add("service", name=f"s{number}")
    services = await client.list("service", {"removed_null": 1})
    assert [service.name for service in services] == ["s0", "s1", "s2", "s3", "s4"]
    assert len(server.requests) == 3
    assert all("removed_null=1" in request for request in server.requests)


async def test_a_limit_stops_reading(server: WireServer, client: ApiClient) -> None:
    server.page_size = 2
    for number in range(9):
        server.add("service", name=f"s{number}")
    assert len(await client.list("service", limit=3)) == 3
    assert len(server.requests) == 2


async def test_filters_repeat_for_lists(server: WireServer, client: ApiClient) -> None:
    server.add("service", name="a", state="stopped", system=False)
    server.add("service", name="b", state="active", system=False)
    server.add("service", name="c", state="active", system=True)
    found = await client.list("service", {"state_ne": ["stopped", "removing"], "system": False})
    assert [service.name for service in found] == ["b"]
    assert "state_ne=stopped&state_ne=removing&system=false" in server.requests[0]


async def test_find_tells_none_one_and_many_apart(server: WireServer, client: ApiClient) -> None:
    assert await client.find("stack", {"name": "shop"}) is None
    first = server.add("stack", name="shop")
    found = await client.find("stack", {"name": "shop"})
    assert found is not None
    assert found.id == first["id"]
    server.add("stack", name="shop")
    with pytest.raises(Ambiguous, match="use the id"):
        await client.find("stack", {"name": "shop"})


async def test_create_update_action_delete(server: WireServer, client: ApiClient) -> None:
    stack = await client.create("stack", {"name": "shop"})
    stack = await client.update(stack, {"description": "sells"})
    assert stack["description"] == "sells"
    server.resources[stack.id]["actions"] = {"activateservices": "x"}
    await client.action(stack, "activateservices")
    gone = await client.delete(stack)
    assert gone is not None
    assert gone.state == "removing"
    prefix = "/v2-beta/projects/1a5/stacks"
    assert server.requests == [
        f"POST {prefix}",
        f"PUT {prefix}/{stack.id}",
        f"POST {prefix}/{stack.id}/?action=activateservices",
        f"DELETE {prefix}/{stack.id}",
    ]


async def test_errors_are_typed_and_say_what_and_where(server: WireServer, client: ApiClient) -> None:
    server.fail_next(422, "MissingRequired", fieldName="name", detail="a stack needs a name")
    with pytest.raises(InvalidRequest) as caught:
        await client.create("stack", {})
    error = caught.value
    assert (error.status, error.code, error.field_name) == (422, "MissingRequired", "name")
    assert str(error).startswith("name: MissingRequired: a stack needs a name (HTTP 422)")
    assert "POST /v2-beta/projects/1a5/stacks" in str(error)


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthenticationFailed), (404, NotFound), (409, Conflict), (500, ApiError)]
)
async def test_status_decides_the_class(
    server: WireServer, client: ApiClient, status: int, kind: type[ApiError]
) -> None:
    server.fail_next(status, "UsernameIsTaken" if status == 409 else "X")
    with pytest.raises(kind):
        await client.create("stack", {"name": "x"})


async def test_a_race_is_tried_again(server: WireServer, client: ApiClient) -> None:
    service = await client.create("service", {"name": "web"})
    server.fail_next(409, "Conflict")
    server.fail_next(409, "Conflict")
    updated = await client.update(service, {"scale": 3})
    assert updated["scale"] == 3
    assert sum(request.startswith("PUT") for request in server.requests) == 3


async def test_other_conflicts_are_not_tried_again(server: WireServer, client: ApiClient) -> None:
    server.fail_next(409, "UsernameIsTaken")
    with pytest.raises(Conflict):
        await client.create("stack", {"name": "x"})
    assert len(server.requests) == 1


async def test_an_answer_that_is_no_api(server: WireServer, client: ApiClient) -> None:
    from aiohttp import web

    server.failures.append(web.Response(text="<html>hello</html>"))
    with pytest.raises(ClientError, match="did not answer with JSON"):
        await client.list("stack")


async def test_a_redirect_is_explained_and_not_followed(server: WireServer, client: ApiClient) -> None:
    from aiohttp import web

    server.failures.append(web.Response(status=301, headers={"Location": "https://other/v2-beta"}))
    with pytest.raises(ApiError, match="redirects to https://other/v2-beta"):
        await client.list("stack")
    assert len(server.requests) == 1


async def test_nobody_listens() -> None:
    async with ApiClient("http://127.0.0.1:1", project="1a5", timeout=2) as client:
        with pytest.raises(ConnectionFailed, match=r"cannot reach http://127\.0\.0\.1:1"):
            await client.create("stack", {"name": "x"})


async def test_the_only_project_is_found_once(server: WireServer) -> None:
    server.add("project", id="1a5", name="Default")
    async with ApiClient(server.url) as client:
        await client.list("stack")
        await client.list("service")
    assert [request.split("?")[0] for request in server.requests] == [
        "GET /v2-beta/projects",
        "GET /v2-beta/projects/1a5/stacks",
        "GET /v2-beta/projects/1a5/services",
    ]


async def test_a_project_by_name(server: WireServer) -> None:
    server.add("project", id="1a5", name="Default")
    server.add("project", id="1a9", name="Staging")
    async with ApiClient(server.url, project="staging") as client:
        assert await client.project_id() == "1a9"
    async with ApiClient(server.url, project="nowhere") as client:
        with pytest.raises(NoMatch, match="no environment 'nowhere'"):
            await client.project_id()
    async with ApiClient(server.url) as client:
        with pytest.raises(Ambiguous, match="Default, Staging"):
            await client.project_id()


async def test_a_project_in_the_address(server: WireServer) -> None:
    async with ApiClient(f"{server.url}/v2-beta/projects/1a5/schemas", token="T") as client:
        await client.list("stack")
    assert server.requests == ["GET /v2-beta/projects/1a5/stacks?limit=1000"]
    assert server.headers[0]["Authorization"] == "Bearer T"


async def test_links_lead_to_collections(server: WireServer, client: ApiClient) -> None:
    one = server.add("container", name="shop-web-1")
    server.add("service", name="web", instanceIds=[one["id"]])
    (service,) = await client.list("service")
    (container,) = await client.related(service, "instances")
    assert container.name == "shop-web-1"
    with pytest.raises(ClientError, match="no link 'nothing'"):
        await client.follow(service, "nothing")


async def test_a_closed_client_says_so() -> None:
    with pytest.raises(ClientError, match="async with"):
        await ApiClient("http://h", project="1a5").list("stack")
