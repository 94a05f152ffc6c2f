"""How a host whose kernel has ESP finds out that a peer encrypts in user space, with what charon would say."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drover.host.network.routers.charon import Charon, Kernel
from drover.host.network.routers.connections import Datapath, Ends, Form, Timing
from drover.host.network.routers.keys import Keys
from drover.host.network.routers.tunnels import Tunnels
from drover.host.network.routers.vici_client import CharonRefused

pytestmark = pytest.mark.anyio

ENDS = Ends("192.0.2.10", "10.42.0.5", "192.0.2.20", "10.42.0.6")


class SaidByCharon:
    """Answers of a charon, and what it was asked to do."""

    def __init__(self, *associations: dict[str, Any]) -> None:
        self.associations = associations
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.refuses: set[str] = set()

    async def stream(self, command: str, _event: str, message: Any = None) -> list[dict[str, Any]]:
        return list(self.associations)

    async def request(self, command: str, message: Any = None) -> dict[str, Any]:
        self.asked.append((command, dict(message or {})))
        if command in self.refuses:
            raise CharonRefused("no")
        return {"keys": ["psk-0", "psk-1", "psk-2", "office"]}


def association(child: str, selector: str) -> dict[str, Any]:
    installed = {"name": child, "uniqueid": "7", "state": "INSTALLED", "remote-ts": [selector], "install-time": "1"}
    return {ENDS.name: {"uniqueid": "3", "state": "ESTABLISHED", "established": "9", "child-sas": {"c": installed}}}


def tunnels(tmp_path: Path, agreed: list[str], datapath: Datapath = Datapath.KERNEL) -> Tunnels:
    async def changed() -> None:
        agreed.append("changed")

    made = Tunnels(
        Charon(tmp_path, Kernel(datapath, gcm=True)),
        Timing(),
        overrides={},
        changed=changed,
        doubt_key=lambda: agreed.append("doubt"),
        verify_interval=30,
    )
    made.want({ENDS.peer_host: ENDS}, ENDS.own_router)
    return made


async def test_everything_agreed_is_the_originals_form(tmp_path: Path) -> None:
    agreed: list[str] = []
    made = tunnels(tmp_path, agreed)
    assert made.form_of(ENDS.peer_host) is None
    charon = SaidByCharon(association("child-192.0.2.20", "0.0.0.0/0"))
    await made._look(charon)  # type: ignore[arg-type]
    assert made.form_of(ENDS.peer_host) is Form.COMPAT
    assert agreed == ["changed"]
    assert charon.asked == []
    await made._look(charon)  # type: ignore[arg-type]
    assert agreed == ["changed"], "once"


async def test_a_narrowed_offer_is_taken_down_for_the_tunnel(tmp_path: Path) -> None:
    agreed: list[str] = []
    made = tunnels(tmp_path, agreed)
    charon = SaidByCharon(association("child-192.0.2.20", "10.42.0.6/32"))
    await made._look(charon)  # type: ignore[arg-type]
    assert made.form_of(ENDS.peer_host) is Form.TUNNEL
    assert agreed == ["changed"]
    assert charon.asked == [("terminate", {"child-id": "7", "force": "yes", "timeout": "2000"})]
    charon.associations = (association("tunnel-192.0.2.20", "10.42.0.6/32"),)
    await made._look(charon)  # type: ignore[arg-type]
    assert len(charon.asked) == 1, "the tunnel itself stays"


async def test_in_user_space_nothing_needs_to_be_found_out(tmp_path: Path) -> None:
    assert tunnels(tmp_path, [], Datapath.USERLAND).form_of("192.0.2.20") is Form.TUNNEL


async def test_keys_are_loaded_before_others_are_dropped(tmp_path: Path) -> None:
    made = tunnels(tmp_path, [])
    made.use(Keys(("new", "old")))
    charon = SaidByCharon()
    await made._load_keys(charon)  # type: ignore[arg-type]
    assert [(command, message.get("id")) for command, message in charon.asked] == [
        ("load-shared", "psk-1"),
        ("load-shared", "psk-0"),
        ("get-shared", None),
        ("unload-shared", "psk-2"),
    ]


async def test_a_refused_connection_is_told_and_not_repeated(tmp_path: Path) -> None:
    made = tunnels(tmp_path, [])
    charon = SaidByCharon()
    charon.refuses = {"load-conn"}
    await made._load_connections(charon)  # type: ignore[arg-type]
    await made._load_connections(charon)  # type: ignore[arg-type]
    assert [command for command, _ in charon.asked] == ["load-conn"]
    assert "ike.conf" in str(made.report()[0]["last_error"])


async def test_vanished_peers_are_unloaded_and_terminated(tmp_path: Path) -> None:
    made = tunnels(tmp_path, [])
    charon = SaidByCharon()
    await made._load_connections(charon)  # type: ignore[arg-type]
    made.want({}, ENDS.own_router)
    await made._load_connections(charon)  # type: ignore[arg-type]
    assert [command for command, _ in charon.asked] == ["load-conn", "unload-conn", "terminate"]


async def test_a_peers_new_router_gets_a_new_tunnel(tmp_path: Path) -> None:
    made = tunnels(tmp_path, [])
    charon = SaidByCharon()
    await made._load_connections(charon)  # type: ignore[arg-type]
    made.want({ENDS.peer_host: replace(ENDS, peer_router="10.42.0.66")}, ENDS.own_router)
    await made._load_connections(charon)  # type: ignore[arg-type]
    assert [command for command, _ in charon.asked] == ["load-conn", "terminate", "load-conn"]
    assert "10.42.0.66/32" in str(charon.asked[-1])
