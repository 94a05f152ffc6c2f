"""An environment made from the VXLAN template, on simulated hosts."""

from __future__ import annotations

import pytest

from drover.server.store import Record
from tests.server.orchestration.infrastructure.conftest import Environment, Server, number

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


async def _two(env: Environment, holder: Record) -> list[Record] | None:
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


async def test_a_network_in_use_cannot_be_taken_away(server: Server) -> None:
    env = await server.from_template("VXLAN")
    await env.add_host("h1")
    driver = await env.service("vxlan", "cni-driver")
    await env.service("vxlan", "vxlan")
    stack = await env.stack("vxlan")
    network = await env.network("vxlan")
    container = await env.run(name="web")
    for refused in (
        await env.api.delete(f"stacks/1st{stack.id}"),
        await env.api.delete(f"services/1s{driver.id}"),
        await env.api.post(f"services/1s{driver.id}/?action=deactivate", {}),
        await env.api.post(f"stacks/1st{stack.id}/?action=deactivateservices", {}),
    ):
        assert (refused.status, refused.json["code"]) == (409, "DRIVER_IN_USE")
    await env.api.post(f"containers/1i{container.id}/?action=stop", {"remove": True})
    for name in ("scheduler", "healthcheck"):
        other = await env.stack(name)
        assert (await env.api.delete(f"stacks/1st{other.id}")).status == 200
        await env.until("stack", other.id, "removed")
    await env.eventually(lambda: _unused(env, stack.id, network.id))
    assert (await env.api.delete(f"stacks/1st{stack.id}")).status == 200
    await env.until("stack", stack.id, "removed")
    assert (await server.store.get("network", network.id))["state"] == "removed"  # type: ignore[index]
    assert not await server.store.find_by("subnet", networkId=network.id, removed=None)
    assert not await server.store.claimed("mac-prefix:")
    placeholder = await env.network("managed")
    project = (await server.api.get(f"projects/1a{env.id}")).json
    assert number(project["defaultNetworkId"]) == placeholder.id


async def _unused(env: Environment, stack_id: int, network_id: int) -> bool:
    rows = await env.store.find_by("ipAddress", networkId=network_id, removed=None)
    users = await env.store.get_many("instance", [int(row["instanceId"]) for row in rows])
    return all(user["stackId"] == stack_id for user in users.values())


async def test_a_changed_plug_in_configuration_reaches_the_network(server: Server) -> None:
    env = await server.from_template("VXLAN")
    driver = await env.service("vxlan", "cni-driver")
    network = await env.network("vxlan")
    field = dict(driver["networkDriver"])
    config = {**field["cniConfig"]["10-rancher-vxlan.conf"], "mtu": 9000, "hairpinMode": "true"}
    body = {"networkDriver": {**field, "cniConfig": {"10-rancher-vxlan.conf": config}}}
    answer = await env.api.put(f"services/1s{driver.id}", body)
    assert answer.status == 200, answer.json
    await env.until("service", driver.id, "active")
    fresh = await server.store.get("network", network.id)
    assert fresh is not None
    changed = fresh["metadata"]["cniConfig"]["10-rancher-vxlan.conf"]
    assert (changed["mtu"], changed["hairpinMode"]) == (9000, True)
    assert fresh["macPrefix"] == network["macPrefix"]


async def test_a_range_that_makes_no_sense_is_refused(server: Server) -> None:
    env = await server.create_environment("plain")
    stack = (await env.api.post("stacks", {"name": "net", "system": True})).json
    for wrong in ({"networkAddress": "10.300.0.0/16"}, {"networkAddress": "10.1.0.0/16", "startAddress": "10.2.0.1"}):
        body = {
            "type": "networkDriverService",
            "name": "cni-driver",
            "stackId": stack["id"],
            "selectorContainer": "a=b",
            "launchConfig": {"imageUuid": "docker:rancher/none"},
            "networkDriver": {"name": "x", "defaultNetwork": {"name": "x", "subnets": [wrong]}},
        }
        answer = await env.api.post("networkdriverservices", body)
        assert (answer.status, answer.json["code"]) == (422, "InvalidFormat")


async def test_a_second_network_stack_does_not_take_over(server: Server) -> None:
    env = await server.from_template("VXLAN")
    first = await env.network("vxlan")
    stack = (await env.api.post("stacks", {"name": "other", "system": True})).json
    body = {
        "type": "networkDriverService",
        "name": "cni-driver",
        "stackId": stack["id"],
        "selectorContainer": "a=b",
        "launchConfig": {"imageUuid": "docker:rancher/none"},
        "networkDriver": {
            "name": "other",
            "defaultNetwork": {"name": "other", "subnets": [{"networkAddress": "10.77.0.0/16"}]},
            "cniConfig": {"10-other.conf": {"type": "rancher-bridge"}},
        },
    }
    assert (await env.api.post("networkdriverservices", body)).status == 201
    second = await env.network("other")
    assert second["macPrefix"] != first["macPrefix"]
    project = (await server.api.get(f"projects/1a{env.id}")).json
    assert number(project["defaultNetworkId"]) == first.id
    await env.add_host("h1")
    container = await env.run(networkMode="other")
    assert container["primaryIpAddress"].startswith("10.77.")


async def test_an_ordinary_stack_provides_no_network(server: Server) -> None:
    env = await server.create_environment("plain")
    stack = (await env.api.post("stacks", {"name": "net"})).json
    body = {
        "type": "networkDriverService",
        "name": "driver",
        "stackId": stack["id"],
        "selectorContainer": "a=b",
        "launchConfig": {"imageUuid": "docker:rancher/none"},
        "networkDriver": {"name": "x", "defaultNetwork": {"name": "x"}},
    }
    answer = await env.api.post("networkdriverservices", body)
    assert answer.status == 201
    await env.until("service", number(answer.json["id"]), "inactive")
    assert not await server.store.find_by("networkDriver", removed=None)
