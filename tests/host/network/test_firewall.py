"""The packet filter of a namespace of its own: back ends, lost rules, removal."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator

import pytest

from drover.host.network.commands import CommandError, run
from drover.host.network.policy.ipsets import Ipsets
from drover.host.network.rules.iptables import Firewall
from drover.host.network.rules.tables import Hook, Owner

pytestmark = [pytest.mark.anyio, pytest.mark.docker]

OWNER = Owner("forward", {"filter": {"CATTLE_FORWARD": ["-m mark --mark 0x1068 -j ACCEPT"]}})
HOOKS = (Hook("filter", "FORWARD", "-j CATTLE_FORWARD"),)


@pytest.fixture
def enter() -> Iterator[tuple[str, ...]]:
    name = f"drvt-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield ("nsenter", f"--net=/run/netns/{name}")
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.mark.parametrize("backend", ["iptables-nft", "iptables-legacy"])
async def test_rules_go_where_the_engines_are(enter: tuple[str, ...], backend: str) -> None:
    await run(*enter, backend, "-N", "DOCKER")
    firewall = Firewall(enter=enter)
    assert await firewall.detect() == backend
    assert await firewall.apply([OWNER], HOOKS, verify=True)
    assert "-A FORWARD -j CATTLE_FORWARD" in await run(*enter, backend, "-S")
    assert not await firewall.apply([OWNER], HOOKS, verify=True)
    await firewall.remove_all()
    assert "CATTLE" not in await run(*enter, backend, "-S")


async def test_lost_rules_are_noticed_by_a_look_only(enter: tuple[str, ...]) -> None:
    firewall = Firewall(enter=enter)
    await firewall.apply([OWNER], HOOKS, verify=True)
    await run(*enter, "iptables", "-F", "CATTLE_FORWARD")
    await run(*enter, "iptables", "-I", "FORWARD", "1", "-j", "ACCEPT")
    assert not await firewall.apply([OWNER], HOOKS, verify=False)
    assert await firewall.apply([OWNER], HOOKS, verify=True)
    dump = await firewall.dump()
    assert dump.chain("filter", "CATTLE_FORWARD") == ("-m mark --mark 0x1068 -j ACCEPT",)
    assert dump.chain("filter", "FORWARD") == ("-j CATTLE_FORWARD", "-j ACCEPT")


async def test_a_refused_document_changes_nothing(enter: tuple[str, ...]) -> None:
    firewall = Firewall(enter=enter)
    await firewall.apply([OWNER], HOOKS, verify=True)
    wrong = Owner("forward", {"filter": {"CATTLE_FORWARD": ["-j NO_SUCH_CHAIN"]}})
    with pytest.raises(CommandError, match="NO_SUCH_CHAIN"):
        await firewall.apply([wrong], HOOKS, verify=True)
    assert (await firewall.dump()).chain("filter", "CATTLE_FORWARD") == ("-m mark --mark 0x1068 -j ACCEPT",)


async def test_sets_are_swapped_and_dropped(enter: tuple[str, ...]) -> None:
    sets = Ipsets(enter=enter)
    await sets.fill({"RNCH-U-1": frozenset({"10.42.0.1"}), "RNCH-S-2": frozenset({"10.42.0.2"})})
    await sets.fill({"RNCH-U-1": frozenset({"10.42.0.1", "10.42.0.3"})})
    listed = await run(*enter, "ipset", "save")
    assert sorted(line for line in listed.splitlines() if line.startswith("add")) == [
        "add RNCH-S-2 10.42.0.2",
        "add RNCH-U-1 10.42.0.1",
        "add RNCH-U-1 10.42.0.3",
    ]
    await run(*enter, "ipset", "create", "SOMEBODY", "hash:ip")
    await sets.drop_others({"RNCH-U-1": frozenset()})
    assert (await run(*enter, "ipset", "list", "-name")).split() == ["RNCH-U-1", "SOMEBODY"]


async def test_a_set_for_thousands_of_addresses(enter: tuple[str, ...]) -> None:
    everybody = frozenset(f"10.42.{number // 250}.{number % 250}" for number in range(20_000))
    await Ipsets(enter=enter).fill({"RNCH-U-1": everybody})
    assert (await run(*enter, "ipset", "save", "RNCH-U-1")).count("\nadd ") == len(everybody)
