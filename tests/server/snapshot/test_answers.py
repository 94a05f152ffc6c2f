"""The download of Rancher 1.6's metadata containers: every field, relations as objects, one stream in two parts."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from drover.client.world import Environment as EnvironmentObject
from drover.client.world import Host, Key, Object, Service, Stack
from drover.client.world.world import kind_of
from drover.server.snapshot.answers import (
    SOURCE_REVISION,
    Answers,
    compress_generic,
    own_part,
    parse_version,
    version_text,
)
from tests.server.snapshot.rows import consumption, container, exposure, record, service, shown

FIELDS = {
    "container": "name uuid primary_ip ips ports service_name stack_name stack_uuid labels create_index host_uuid "
    "hostname health_state start_count service_index state external_id primary_mac_address memory_reservation "
    "milli_cpu_reservation network_uuid network_from_container_uuid system dns dns_search health_check_hosts "
    "environment_uuid links host_ip health_check metadata_kind",
    "service": "name uuid stack_name stack_uuid kind hostname vip create_index external_ips sidekicks ports labels "
    "metadata scale fqdn expose health_check system lb_config primary_service_name environment_uuid state token "
    "metadata_kind",
    "stack": "environment_name environment_uuid name uuid system metadata_kind",
    "host": "agent_ip name labels hostId uuid hostname state agent_state milli_cpu memory local_storage_mb "
    "environment_uuid metadata_kind",
    "network": "name uuid environment_uuid is_default host_ports metadata default_policy_action policy metadata_kind",
    "environment": "name uuid region_name metadata_kind",
    "serviceContainerLink": "service_uuid service_name container_uuid metadata_kind",
    "serviceLink": "service_uuid key value metadata_kind",
    "containerLink": "container_uuid key value metadata_kind",
}


def own(*rows: Any, region: str | None = None) -> dict[Key, Object]:
    return {Key(*key): each for key, each in shown(*rows, region=region).items()}


def decoded(text: bytes) -> list[dict[str, Any]]:
    """Read JSON values that follow each other without a separator."""
    decoder, rest, found = json.JSONDecoder(), text.decode(), []
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:]
    return found


def everything() -> dict[Key, Object]:
    rule = {"sourcePort": 80, "serviceId": 2, "targetPort": 8080}
    return own(
        container(1, instanceLinks={"db": 2}, healthCheck={"port": 80}),
        container(2),
        service(1, secondaryLaunchConfigs=[{"name": "side"}], lbConfig={"portRules": [rule]}),
        service(2),
        exposure(1, service_id=1, instance_id=1),
        consumption(1, service_id=1, consumedServiceId=2, name="alias"),
        region="EU",
    )


def test_every_kind_has_exactly_the_fields_of_the_original() -> None:
    found = decoded(Answers().generic(everything(), {}))
    assert {each["metadata_kind"] for each in found} == set(FIELDS)
    for each in found:
        assert set(each) == set(FIELDS[each["metadata_kind"]].split())


def test_relations_are_objects_and_the_environment_comes_last() -> None:
    found = decoded(Answers().generic(everything(), {}))
    by_kind = {each["metadata_kind"]: each for each in found}
    assert by_kind["serviceContainerLink"] | {"metadata_kind": ""} == {
        "metadata_kind": "",
        "service_uuid": "service-1",
        "service_name": "Web1",
        "container_uuid": "instance-1",
    }
    assert (by_kind["containerLink"]["key"], by_kind["containerLink"]["value"]) == ("db", "instance-2")
    links = [each for each in found if each["metadata_kind"] == "serviceLink"]
    assert [(each["service_uuid"], each["key"], each["value"]) for each in links] == [
        ("service-1", "Shop/Web2", "alias")
    ]
    assert found[-1] == {
        "metadata_kind": "environment",
        "uuid": "account-5",
        "name": "default",
        "region_name": "eu",
    }


def test_embedded_objects_have_all_their_fields_too() -> None:
    found = decoded(Answers().generic(everything(), {}))
    checked = next(each for each in found if each["uuid"] == "instance-1")
    assert checked["health_check"] == {
        "port": 80,
        "request_line": None,
        "interval": None,
        "response_timeout": None,
        "healthy_threshold": None,
        "unhealthy_threshold": None,
    }
    balancer = next(each for each in found if each["metadata_kind"] == "service" and each["name"] == "Web1")
    assert balancer["lb_config"]["certs"] == []
    assert balancer["lb_config"]["port_rules"][0]["service"] == "Shop/Web2"
    assert balancer["lb_config"]["port_rules"][0]["weight"] == 1
    assert "selector" in balancer["lb_config"]["port_rules"][0]


def test_both_parts_inflate_as_one_stream() -> None:
    text = Answers().generic(everything(), {})
    body = compress_generic(text) + own_part(17, Host(uuid="h", hostId=4))
    stream = zlib.decompressobj(-15)
    inflated = stream.decompress(body)
    assert stream.eof
    assert inflated.startswith(text)
    last = decoded(inflated[len(text) :])
    assert [each["metadata_kind"] for each in last] == ["defaultData"]
    assert last[0]["version"] == f"17-{SOURCE_REVISION}"
    assert (last[0]["self"]["host"]["uuid"], last[0]["self"]["host"]["hostId"]) == ("h", 4)
    nobody = zlib.decompress(compress_generic(b"") + own_part(1, None), -15)
    assert decoded(nobody)[0]["self"] == {"host": None}


def test_linked_services_and_stacks_pass_for_the_environments_own() -> None:
    foreign: list[Object] = [
        Service(uuid="s", name="web", environment_uuid="theirs"),
        Stack(uuid="st", name="shop", environment_uuid="theirs", environment_name="Theirs"),
        Host(uuid="h", environment_uuid="theirs"),
        EnvironmentObject(uuid="theirs", name="Theirs"),
    ]
    mapped = {Key(kind_of(each), each.key): each for each in foreign[:3]}
    found = {each["uuid"]: each for each in decoded(Answers().generic(own(), mapped))}
    assert found["s"]["environment_uuid"] == "account-5"
    assert (found["st"]["environment_uuid"], found["st"]["environment_name"]) == ("account-5", "Default")
    assert found["h"]["environment_uuid"] == "theirs"


def test_what_did_not_change_is_not_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, objects = Answers(), everything()
    first = answers.generic(objects, {})
    monkeypatch.setattr("drover.server.snapshot.answers.plain", lambda each: pytest.fail("rendered again"))
    assert answers.generic(objects, {}) == first


def test_what_is_gone_is_gone_from_the_answers() -> None:
    answers = Answers()
    answers.generic(own(container(1)), {})
    kinds = [each["metadata_kind"] for each in decoded(answers.generic(own(record("nothing", 1)), {}))]
    assert "container" not in kinds


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("12-ab", (12, "ab")), ("x-12-ab", (12, "ab")), ("ab", None), ("-ab", None), ("a-b", None), ("", None)],
)
def test_versions_are_read_from_the_end(text: str, parsed: tuple[int, str] | None) -> None:
    assert parse_version(text) == parsed


def test_a_version_can_be_read_again() -> None:
    assert "-" not in SOURCE_REVISION
    assert parse_version(version_text(1795288219583)) == (1795288219583, SOURCE_REVISION)
