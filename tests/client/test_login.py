import pytest

from drover.client.api import ApiClient
from drover.client.errors import AuthenticationFailed, ClientError
from drover.client.login import change_password, create_api_key, login_token
from tests.wire import WireServer

pytestmark = pytest.mark.anyio


async def test_a_password_becomes_a_key(server: WireServer) -> None:
    server.password = ("ann", "p:w")
    token = await login_token(server.url, "ann", "p:w")
    assert token == "T" * 40
    async with ApiClient(server.url, token=token) as client:
        key = await create_api_key(client, name="laptop")
    assert (key.access_key, key.secret_key) == ("ABCDEF0123456789ABCD", "s" * 40)
    assert "s" * 40 not in repr(key)
    assert [request.split("?")[0] for request in server.requests] == [
        "POST /v2-beta/tokens",
        "POST /v2-beta/apikeys",
    ]


async def test_a_wrong_password(server: WireServer) -> None:
    server.password = ("ann", "right")
    with pytest.raises(AuthenticationFailed):
        await login_token(server.url, "ann", "wrong")


async def test_a_password_is_changed_by_its_owner(server: WireServer) -> None:
    server.password = ("ann", "old")
    server.on_create = lambda resource: resource.update(accountId="1a8")
    server.add("password", accountId="1a7", actions=["changesecret"])
    own = server.add("password", accountId="1a8", actions=["changesecret"])
    await change_password(server.url, "ann", "old", "new")
    assert server.requests[-1].endswith(f"{own['id']}/?action=changesecret")
    assert server.bodies[-1] == {"oldSecret": "old", "newSecret": "new"}


async def test_a_user_of_another_directory_has_no_password_here(server: WireServer) -> None:
    server.password = ("ann", "old")
    server.on_create = lambda resource: resource.update(accountId="1a8")
    with pytest.raises(ClientError, match="change it where it is kept"):
        await change_password(server.url, "ann", "old", "new")
