"""An environment made from the VXLAN template, on simulated hosts."""

from __future__ import annotations

import pytest

from tests.server.orchestration.infrastructure.conftest import Server, number

pytestmark = pytest.mark.anyio


async def test_an_environment_from_the_template_has_its_network(server: Server) -> None:
    env = await server.from_template("VXLAN")
    await env.add_host("h1")
    await env.service("vxlan", "cni-driver")
    holder = await env.service("vxlan", "vxlan")
    network = await env.network("vxlan")
    assert (network.kind, network["hostPorts"], network["defaultPolicyAction"]) == ("cni", True, "allow")
    assert network["macPrefix"].startswith("02:")
    config = network["metadata"]["cniConfig"]["10-rancher-vxlan.conf"]
    assert (config["mtu"], config["linkMTUOverhead"], config["promiscMode"]) == (1500, 50, True)
    assert config["isDebugLevel"] == "false"
    (subnet,) = await server.store.find_by("subnet", networkId=network.id, removed=None)
    assert (subnet["networkAddress"], subnet["cidrSize"], subnet["gateway"]) == ("10.42.0.0", 16, "10.42.0.1")
    assert (subnet["startAddress"], subnet["endAddress"]) == ("10.42.0.2", "10.42.255.250")
    project = (await server.api.get(f"projects/1a{env.id}")).json
    assert number(project["defaultNetworkId"]) == network.id
    (first, second) = await env.eventually(lambda: _two(env, holder))
    assert {first["primaryNetworkId"], second["networkContainerId"]} == {network.id, first.id}


async def _two(env, holder):  # type: ignore[no-untyped-def]
    found = sorted(await env.containers(holder), key=lambda each: each.id)
    return found if len(found) == 2 else None


async def test_a_container_joins_the_default_network(server: Server) -> None:
    env = await server.from_template("VXLAN")
    await env.add_host("h1")
    network = await env.network("vxlan")
    await env.service("vxlan", "vxlan")
    container = await env.run(name="web")
    assert container["primaryNetworkId"] == network.id
    assert container["primaryIpAddress"].startswith("10.42.")
    assert container["primaryMacAddress"].startswith(network["macPrefix"])
    assert (container["dnsInternal"], container["dnsSearchInternal"]) == ("169.254.169.250", "rancher.internal")
