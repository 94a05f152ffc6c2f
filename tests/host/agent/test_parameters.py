"""The mapping to Docker's parameters: as a table, and against a real engine."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from aiodocker.exceptions import DockerError

from drover.host.agent.agent import engine_facts
from drover.host.agent.engine import Engine
from drover.host.agent.errors import AgentError
from drover.host.agent.parameters import ImageDefaults, MappingFacts, container_name, docker_parameters
from drover.host.agent.payload import Instance, InstanceHostMap, decode
from drover.host.agent.server import Server, ServerClock
from drover.host.agent.settings import AgentSettings
from tests.host.agent.conftest import instance_data
from tests.host.agent.mapping_cases import CASES, ENGINE_DEPENDENT, MISSING, Case, lookup, nic

pytestmark = pytest.mark.anyio


def host_map(fields: dict[str, Any] | None = None, **instance: Any) -> InstanceHostMap:
    data = instance_data("box", fields=fields or {}, **instance)["instanceHostMap"]
    return decode(msgspec.Raw(msgspec.json.encode(data)), InstanceHostMap)


def body(fields: dict[str, Any] | None = None, *, facts: MappingFacts | None = None, **instance: Any) -> dict[str, Any]:
    return docker_parameters(host_map(fields, **instance), facts or MappingFacts()).body


@pytest.mark.parametrize("case", CASES, ids=str)
def test_row(case: Case):
    parameters = docker_parameters(host_map(case.fields, **case.instance), MappingFacts())
    for path, expected in case.body.items():
        assert lookup(parameters.body, path) == expected, path
    for path in case.absent:
        assert lookup(parameters.body, path) is MISSING, path
    assert tuple(dropped.field for dropped in parameters.dropped) == case.dropped


@pytest.mark.parametrize("case", ENGINE_DEPENDENT, ids=str)
def test_engine_dependent_row(case: Case):
    able = MappingFacts(kernel_memory=True, cpu_realtime=True)
    for path, expected in case.body.items():
        assert lookup(body(case.fields, facts=able, **case.instance), path) == expected
        unable = docker_parameters(host_map(case.fields, **case.instance), MappingFacts())
        assert lookup(unable.body, path) is MISSING
        assert [dropped.field for dropped in unable.dropped] == [case.name]
        assert unable.dropped[0].reason


@pytest.mark.docker
@pytest.mark.parametrize("case", [*CASES, *ENGINE_DEPENDENT], ids=str)
async def test_row_on_a_real_engine(case: Case, engine: Engine):
    info = await engine.info()
    server = Server(None, "http://server/v1", user="u", password="p", clock=ServerClock())  # type: ignore[arg-type]
    facts = engine_facts(AgentSettings(), server, info, engine.api_version)
    parameters = docker_parameters(host_map(case.fields, **case.instance), facts)
    if case.refused is not None:
        with pytest.raises(DockerError, match=case.refused):
            await engine.create_container(parameters.name, parameters.body)
        return
    container = await engine.create_container(parameters.name, parameters.body)
    inspect = await engine.inspect_container(container)
    dropped = {dropped.field for dropped in parameters.dropped}
    expected = case.inspect
    if expected is None:
        expected = {path: value for path, value in case.body.items() if path.startswith("HostConfig.")}
    for path, value in expected.items():
        if case.name not in dropped:
            assert lookup(inspect, path) == value, path


def test_names():
    uuid = "3f2b8c1e-aaaa-bbbb-cccc-000000000000"
    assert container_name(name="web-1", uuid=uuid) == "r-web-1-3f2b8c1e"
    assert container_name(name="x", uuid=uuid) == f"r-{uuid}", "Docker wants two characters"
    assert container_name(name="-bad", uuid=uuid) == f"r-{uuid}"
    assert container_name(name="a b;c", uuid=uuid) == f"r-{uuid}"
    assert container_name(name=None, uuid=uuid) == f"r-{uuid}"


def test_an_image_is_required():
    with pytest.raises(AgentError, match="no image"):
        body({"imageUuid": ""})


@pytest.mark.parametrize(
    ("priority", "expected"),
    [
        ({}, ["s.rancher.internal", "rancher.internal", "corp.test", "lan"]),
        (
            {"io.rancher.container.dns.priority": "service_last"},
            ["corp.test", "lan", "s.rancher.internal", "rancher.internal"],
        ),
    ],
)
def test_host_search_domains_join_internal_ones(priority: dict[str, str], expected: list[str]):
    facts = MappingFacts(host_search_domains=("corp.test", "rancher.internal", "lan"))
    fields = {"dnsSearch": ["s.rancher.internal", "rancher.internal"], "labels": priority}
    assert body(fields, facts=facts)["HostConfig"]["DnsSearch"] == expected


def test_an_unreadable_resolver_configuration_fails_only_where_it_is_needed():
    facts = MappingFacts(host_search_domains=None)
    assert body({"dnsSearch": ["other.test"]}, facts=facts)["HostConfig"]["DnsSearch"] == ["other.test"]
    with pytest.raises(AgentError, match=r"resolv\.conf"):
        body({"dnsSearch": ["rancher.internal"]}, facts=facts)


def test_dockers_own_folder_is_shown_where_programs_expect_it():
    facts = MappingFacts(docker_root="/data/docker")
    binds = body({"dataVolumes": ["/var/lib/docker:/var/lib/docker"]}, facts=facts)["HostConfig"]["Binds"]
    assert binds == ["/data/docker:/var/lib/docker:rw", "/data/docker:/data/docker:rw"]


def test_flex_volumes_are_plain_binds():
    facts = MappingFacts(flex_mounts={"vol": "/var/lib/rancher/volumes/rancher-nfs/vol"})
    binds = body({"dataVolumes": ["vol:/data"]}, facts=facts)["HostConfig"]["Binds"]
    assert binds == ["/var/lib/rancher/volumes/rancher-nfs/vol:/data:rw"]


def test_other_containers_are_found_by_id_or_expected_by_name():
    def find(instance: Instance) -> str | None:
        return "c0ffee" if instance.uuid == "known" else None

    facts = MappingFacts(find_container=find)
    shared = body(
        facts=facts, **nic("dockerContainer"), networkContainer={"uuid": "known", "name": "net"}, hostname="x"
    )
    assert shared["HostConfig"]["NetworkMode"] == "container:c0ffee"
    assert "Hostname" not in shared
    later = body(facts=facts, **nic("dockerContainer"), networkContainer={"uuid": "abc-1", "name": "net"})
    assert later["HostConfig"]["NetworkMode"] == "container:r-net-abc"
    volumes = body(facts=facts, dataVolumesFromContainers=[{"uuid": "known"}, {"uuid": "gone"}])
    assert volumes["HostConfig"]["VolumesFrom"] == ["c0ffee"]


def test_the_old_cpu_behaviour_is_a_setting():
    assert body(facts=MappingFacts(legacy_cpu_shares=True))["HostConfig"]["CpuShares"] == 2


def test_new_engines_get_the_mac_at_the_endpoint():
    made = body(facts=MappingFacts(api_version=(1, 44)), **nic("dockerBridge", macAddress="02:42:00:00:00:01"))
    assert "MacAddress" not in made
    assert made["NetworkingConfig"]["EndpointsConfig"]["bridge"]["MacAddress"] == "02:42:00:00:00:01"
    assert made["HostConfig"]["NetworkMode"] == "bridge"


def test_a_managed_network_starts_through_the_wait_program():
    facts = MappingFacts(image=ImageDefaults(entrypoint=("/entry",), command=("serve",)))
    made = body({"command": None}, facts=facts, **nic("cni"))
    assert made["Entrypoint"] == ["/.r/r", "/entry"]
    assert made["Cmd"] == ["serve"]
    assert made["HostConfig"]["Binds"] == ["rancher-cni:/.r:ro"]
    assert made["HostConfig"]["NetworkMode"] == "none"
    assert "NetworkDisabled" not in made
    assert made["Labels"]["io.rancher.cni.wait"] == "true"
    assert made["Labels"]["io.rancher.cni.network"] == "net"
    own = body({"command": ["x"], "entryPoint": ["/.r/r", "y"]}, facts=facts, **nic("cni"))
    assert own["Entrypoint"] == ["/.r/r", "y"]
    empty = body({"command": None}, facts=MappingFacts(image=ImageDefaults()), **nic("cni"))
    assert "Entrypoint" not in empty
    chosen = body({"labels": {"io.rancher.cni.network": "mine"}}, facts=facts, **nic("cni"))
    assert chosen["Labels"]["io.rancher.cni.network"] == "mine"


def test_links_become_variables():
    link = {
        "linkName": "db",
        "data": {"fields": {"instanceNames": ["stack_db_1"], "ports": [{"privatePort": 5432, "protocol": "tcp"}]}},
        "targetInstance": {
            "uuid": "t",
            "data": {"dockerInspect": {"Config": {"Env": ["PW=x", "HOME=/", "C_NAME=/cattle/c", "C_PORT=tcp://c:1"]}}},
        },
    }
    environment = dict(
        entry.split("=", 1) for entry in body({"environment": {"DB_NAME": "mine"}}, instanceLinks=[link])["Env"]
    )
    assert environment["DB_NAME"] == "mine", "what the user set stays"
    assert environment["DB_PORT"] == "tcp://db:5432"
    assert environment["DB_PORT_5432_TCP_ADDR"] == "db"
    assert environment["DB_PORT_5432_TCP_PROTO"] == "tcp"
    assert environment["STACK_DB_1_NAME"] == "/cattle/stack_db_1"
    assert environment["STACK_DB_1_PORT_5432_TCP"] == "tcp://db:5432"
    assert environment["DB_1_NAME"] == "/cattle/db_1"
    assert environment["DB_ENV_PW"] == "x"
    assert "DB_ENV_HOME" not in environment
    assert "DB_ENV_C_PORT" not in environment


def test_system_containers_get_the_proxy_and_agents_the_server():
    facts = MappingFacts(proxy_environment={"http_proxy": "p:1"}, config_url="http://s:8080/v1")
    system = body({"environment": {"http_proxy": "mine"}}, facts=facts, system=True)
    assert system["Env"] == ["http_proxy=p:1"]
    agent = body({"environment": {"CATTLE_URL": "given"}}, facts=facts, agentId=3)
    assert sorted(agent["Env"]) == ["CATTLE_CONFIG_URL=http://s:8080/v1", "CATTLE_URL=given"]
    local = body(facts=MappingFacts(config_url="http://localhost:8080/v1"), agentId=3)
    assert "CATTLE_CONFIG_URL_PORT=9342" in local["Env"]
    assert "CATTLE_CONFIG_URL_PATH=/v1" in local["Env"]


@pytest.mark.parametrize("evil", ["$(touch /x)", "`x`", "a;b", "--privileged", "a\nb", "\u2028"])
def test_text_stays_text(evil: str):
    made = body({"command": [evil], "environment": {"K": evil}, "labels": {"l": evil}, "workingDir": evil})
    assert made["Cmd"] == [evil]
    assert made["Env"] == [f"K={evil}"]
    assert made["Labels"]["l"] == evil
    assert made["WorkingDir"] == evil
