"""Where the pre-shared key comes from, and what is kept of it."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from drover.common.settings import load_settings
from drover.host.network.routers.keys import Keys, KeySource, NoKey, parse_keys
from drover.host.network.routers.settings import IpsecSettings

pytestmark = pytest.mark.anyio


def source(folder: Path, **variables: str) -> KeySource:
    settings = load_settings(IpsecSettings, environ={"DROVER_STATE_DIR": str(folder), **variables})
    return KeySource(settings)


class Answers:
    """A server and a metadata service whose answers a test chooses."""

    def __init__(self) -> None:
        self.body = b"0011"
        self.status = 200
        self.seen: list[tuple[str, str, str | None]] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.seen.append((request.method, request.path_qs, request.headers.get("Authorization")))
        return web.Response(status=self.status, body=self.body)


@pytest.fixture
async def server() -> Any:
    answers = Answers()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answers.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    answers.url = f"http://127.0.0.1:{runner.addresses[0][1]}"  # type: ignore[attr-defined]
    yield answers
    await runner.cleanup()


def of_server(server: Any, folder: Path) -> KeySource:
    keys = {"CATTLE_URL": f"{server.url}/v1", "CATTLE_ACCESS_KEY": "agent", "CATTLE_SECRET_KEY": "secret"}
    return source(folder, **keys)


async def test_an_operators_key_comes_first(tmp_path: Path) -> None:
    assert await source(tmp_path, RANCHER_IPSEC_PSK=" mine ", CATTLE_URL="http://nowhere.invalid").read() == Keys(
        ("mine",)
    )


async def test_the_original_servers_answer_is_the_key(server: Any, tmp_path: Path) -> None:
    server.body = b"0a0b0c\n"
    assert await of_server(server, tmp_path).read() == Keys(("0a0b0c",))
    login = aiohttp.encode_basic_auth("agent", "secret")
    assert server.seen == [
        ("GET", "/v1/configcontent/psk?keys=all", login),
        ("PUT", "/v1/configcontent/psk?version=latest", login),
    ]


async def test_several_keys_say_when_to_ask_again(server: Any, tmp_path: Path) -> None:
    server.body = b'{"keys": ["old", "new"], "refresh_seconds": 42}'
    assert await of_server(server, tmp_path).read() == Keys(("old", "new"), 42)


async def test_the_services_token_can_be_the_key(server: Any, tmp_path: Path) -> None:
    server.body = b"token"
    keys = await source(tmp_path, TOKEN_PSK="true", DROVER_METADATA_URL=server.url).read()
    assert keys == Keys(("token",))
    assert server.seen[0][1] == "/2016-07-29/self/service/token"


async def test_the_last_answer_is_kept_for_an_outage(server: Any, tmp_path: Path) -> None:
    keys = of_server(server, tmp_path)
    first = await keys.read()
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    server.status = 500
    assert await keys.read() == first


async def test_without_any_key_the_error_says_what_to_do(server: Any, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(NoKey, match="answered 404"):
        await of_server(server, tmp_path).read()
    with pytest.raises(NoKey, match="RANCHER_IPSEC_PSK"):
        await source(tmp_path).read()


@pytest.mark.parametrize("body", [b"", b"  \n", b'{"keys": []}', b'{"keys": [""]}', b"{", b"x" * 5000])
def test_answers_that_are_no_key_are_refused(body: bytes) -> None:
    with pytest.raises(NoKey):
        parse_keys(body)


def test_keys_are_not_printed() -> None:
    assert "geheim" not in repr(Keys(("geheim",)))
