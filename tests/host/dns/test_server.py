"""The program's sockets and files: clients by their address, UDP, TCP, answers file, dump, signals."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dns.message
import pytest
import yaml

from drover.common.errors import SettingsError
from drover.host.dns import answers_file, dump
from drover.host.dns.forward import Forwarder
from drover.host.dns.records import addresses_answer
from drover.host.dns.resolv_conf import outside_servers
from drover.host.dns.server import Server, parse_listen
from drover.host.dns.view import Shared
from tests.host.dns.asking import addresses, ask, code, responder_of
from tests.host.dns.worlds import case_objects, container, names_of, service

pytestmark = pytest.mark.anyio


class Client:
    """A client with an address of its own."""

    def __init__(self, port: int, *, address: str = "127.0.0.1", server: str = "127.0.0.1") -> None:
        self.address, self.server, self.port = address, server, port

    async def ask(self, name: str, *, tcp: bool = False) -> dns.message.Message:
        query = dns.message.make_query(name, "A")
        async with asyncio.timeout(60):
            raw = await (self._tcp(query.to_wire()) if tcp else self._udp(query.to_wire()))
        reply = dns.message.from_wire(raw)
        assert query.is_response(reply)
        return reply

    async def _udp(self, query: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.bind((self.address, 0))
            sock.connect((self.server, self.port))  # a reply from elsewhere would not arrive
            await loop.sock_sendall(sock, query)
            return await loop.sock_recv(sock, 65535)

    async def _tcp(self, query: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self.server, self.port, local_addr=(self.address, 0))
        for _ in range(2):  # a connection serves several questions
            writer.write(struct.pack("!H", len(query)) + query)
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            raw = await reader.readexactly(length)
        writer.close()
        await writer.wait_closed()
        return raw


@asynccontextmanager
async def serving(shared: Shared, listen: str = "127.0.0.1:0") -> AsyncIterator[Server]:
    async with Forwarder() as forwarder, Server(listen, responder_of(shared, forwarder)) as server:
        yield server


@pytest.mark.parametrize("listen", ["127.0.0.1:0", ":0"])
async def test_clients_are_told_apart_by_their_address(listen: str) -> None:
    web, db = service("web", links={"shop/db": "store"}), service("db")
    one = container("w1", "127.0.0.5", web, dns_search=("shop.rancher.internal",))
    shared = names_of(web, db, one, container("d1", "10.42.0.2", db)).shared
    async with serving(shared, listen) as server:
        for tcp in (False, False, True):
            linked = await Client(server.port, address="127.0.0.5").ask("store", tcp=tcp)
            assert addresses(linked) == ["10.42.0.2"]
            for _ in range(2):
                other = await Client(server.port).ask("store.rancher.internal", tcp=tcp)
                assert code(other) == "NXDOMAIN"
        assert (server.questions, server.new_questions) == (6, 2)


async def test_a_wildcard_socket_answers_from_the_asked_address() -> None:
    shared = Shared()
    shared.set("web.shop.rancher.internal.", addresses_answer(["10.42.0.1"]))
    async with serving(shared, ":0") as server:
        for _ in range(2):
            assert addresses(await Client(server.port, server="127.0.0.77").ask("web.shop")) == ["10.42.0.1"]


async def test_changes_are_seen_in_the_next_answer() -> None:
    shared = Shared()
    async with serving(shared) as server:
        client = Client(server.port)
        for address in ("10.42.0.1", "10.42.0.2"):
            shared.set("web.shop.rancher.internal.", addresses_answer([address]))
            for _ in range(2):
                assert addresses(await client.ask("web.shop")) == [address]


async def test_bytes_that_mean_nothing_do_not_stop_it() -> None:
    async with serving(Shared()) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for each in (b"", b"x", b"\xff" * 600, b"\x00" * 12):
                sock.sendto(each, ("127.0.0.1", server.port))
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"\x00\x03abc")
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        assert code(await Client(server.port).ask("no.rancher.internal")) == "NXDOMAIN"


async def test_open_connections_end_with_the_server() -> None:
    async with serving(Shared()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        query = dns.message.make_query("no.rancher.internal", "A").to_wire()
        writer.write(struct.pack("!H", len(query)) + query)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        await reader.readexactly(length)
    assert await reader.read() == b""
    writer.close()


async def test_an_address_that_is_not_there_yet_can_be_listened_on() -> None:
    async with serving(Shared(), "192.0.2.77:0") as server:
        assert server.port


async def test_a_taken_port_is_said() -> None:
    async with serving(Shared()) as server:
        with pytest.raises(SettingsError, match="--listen"):
            async with serving(Shared(), f"127.0.0.1:{server.port}"):
                pass


def test_listen() -> None:
    assert parse_listen(":53") == ("0.0.0.0", 53)
    assert parse_listen("169.254.169.250:5353") == ("169.254.169.250", 5353)
    with pytest.raises(SettingsError, match=r"ADDRESS:PORT"):
        parse_listen("localhost")


def test_name_servers_of_the_container(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("search a\nnameserver 127.0.0.11\nnameserver 169.254.169.250\nnameserver 10.0.0.2\nnameserver\n")
    assert outside_servers(path, excluded=("169.254.169.250",)) == ("10.0.0.2",)
    path.write_text("nameserver 127.0.0.1\n")
    assert outside_servers(path, excluded=()) == ("8.8.8.8", "8.8.4.4")
    assert outside_servers(tmp_path / "none", excluded=()) == ("8.8.8.8", "8.8.4.4")


class TestAnswersFile:
    TEXT = """
default:
  recurse: [10.0.0.2, 127.0.0.1]
  a:
    Web.Shop.rancher.internal: {answer: [10.42.0.1, 10.42.0.2], ttl: 7}
  cname:
    www.rancher.internal.: {answer: web.shop.rancher.internal}
  ptr:
    10.42.0.1: {answer: web.shop.rancher.internal.}
  txt:
    about.rancher.internal.: {answer: [hello]}
10.42.0.9:
  search: [shop.rancher.internal]
  a:
    db.rancher.internal.: {answer: [10.42.0.3]}
"""

    async def test_it_is_served(self, tmp_path: Path) -> None:
        path, shared = tmp_path / "answers.yaml", Shared()
        path.write_text(self.TEXT)
        answers_file.load(path, shared, excluded=())
        assert shared.default.upstreams == ("10.0.0.2",)
        responder = responder_of(shared, Forwarder(clock=lambda: 0.0))
        reply = await ask(responder, "web.shop")
        assert (addresses(reply), reply.answer[0].ttl) == (["10.42.0.1", "10.42.0.2"], 7)
        assert addresses(await ask(responder, "www")) == ["10.42.0.1", "10.42.0.2"]
        assert (await ask(responder, "1.0.42.10.in-addr.arpa", "PTR")).answer
        assert (await ask(responder, "about", "TXT")).answer
        assert addresses(await ask(responder, "web", client="10.42.0.9")) == ["10.42.0.1", "10.42.0.2"]
        assert addresses(await ask(responder, "db.rancher.internal", client="10.42.0.9")) == ["10.42.0.3"]
        assert code(await ask(responder, "db.rancher.internal")) == "NXDOMAIN"

    @pytest.mark.parametrize("text", ["[", "- a", "default: {a: {x: 5}}", "default: {a: {x: {answer: 7}}}"])
    def test_a_broken_file_changes_nothing(self, tmp_path: Path, text: str) -> None:
        path, shared = tmp_path / "answers.yaml", Shared()
        path.write_text(self.TEXT)
        answers_file.load(path, shared, excluded=())
        records, clients = dict(shared.records), dict(shared.clients)
        path.write_text(text)
        with pytest.raises(SettingsError, match="answers file"):
            answers_file.load(path, shared, excluded=())
        assert (shared.records, shared.clients) == (records, clients)

    def test_what_is_written_down_can_be_served(self, tmp_path: Path) -> None:
        names = names_of(*case_objects())
        path, again = tmp_path / "answers.json", Shared()
        path.write_text(json.dumps(dump.document(names.shared, ("10.0.0.2",))))
        assert set(yaml.safe_load(path.read_text())["default"]) == {"search", "recurse", "authorative", "a", "cname"}
        answers_file.load(path, again, excluded=())
        assert again.records == names.shared.records
        assert {a: v.records for a, v in again.clients.items()} == {
            a: v.records for a, v in names.shared.clients.items()
        }

    async def test_records_are_written_down_after_changes(self, tmp_path: Path) -> None:
        names = names_of(container("one", "10.42.0.1"))
        path = tmp_path / "etc" / "answers.json"
        writing = asyncio.create_task(dump.keep_written(path, names.shared, ()))
        async with asyncio.timeout(60):
            while not path.exists():
                await asyncio.sleep(0.005)
        writing.cancel()
        await asyncio.wait({writing})
        assert "one.rancher.internal." in json.loads(path.read_text())["default"]["a"]


async def test_the_program_serves_reloads_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "answers.yaml"
    path.write_text("default: {a: {web.rancher.internal.: {answer: [10.42.0.1]}}}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "drover", "dns", "--listen", f"127.0.0.1:{port}", "--answers", str(path),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        client = Client(port)
        async with asyncio.timeout(60):
            assert addresses(await _when_up(client, "web")) == ["10.42.0.1"]
            path.write_text("default: {a: {web.rancher.internal.: {answer: [10.42.0.2]}}}")
            program.send_signal(signal.SIGHUP)
            while addresses(await client.ask("web")) != ["10.42.0.2"]:
                await asyncio.sleep(0.01)
            program.terminate()
            assert await program.wait() == 0
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


async def _when_up(client: Client, name: str) -> dns.message.Message:
    while True:
        try:
            return await client.ask(name)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
