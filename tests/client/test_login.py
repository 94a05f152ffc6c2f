import pytest

from drover.client.api import ApiClient
from drover.client.errors import AuthenticationFailed
from drover.client.login import create_api_key, login_token
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
