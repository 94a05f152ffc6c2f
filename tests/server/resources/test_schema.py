from __future__ import annotations

import pytest

from drover.server.resources import Schema, schemas


def seen(role: str, name: str, version: str = "v2-beta") -> Schema:
    schema = schemas(version, role).get(name)
    assert schema is not None
    return schema


def test_members_write_and_readers_read() -> None:
    assert seen("member", "container").collection_methods == ("GET", "POST")
    assert seen("readonly", "container").collection_methods == ("GET",)
    assert seen("member", "container").fields["imageUuid"].create
    assert not seen("readonly", "container").fields["imageUuid"].create
    assert seen("readonly", "container").fields["imageUuid"].readable


def test_readers_act_on_nothing_but_read_logs() -> None:
    assert set(seen("readonly", "container").actions) == {"logs"}
    assert set(seen("readonly", "service").actions) == set()
    assert "restart" in seen("member", "service").actions


def test_hidden_types_and_fields_do_not_exist_for_a_role() -> None:
    assert schemas("v2-beta", "readonly").get("registrationToken") is None
    assert schemas("v2-beta", "environment").get("secret") is None
    assert "environment" not in seen("readonly", "container").fields
    assert "agentId" not in seen("member", "host").fields
    assert "agentId" in seen("admin", "host").fields


def test_internal_columns_are_in_no_schema() -> None:
    for role in ("superadmin", "service", "admin", "owner"):
        assert "hostId" not in seen(role, "storagePool").fields
        assert "storagePoolId" not in seen(role, "volume").fields


def test_an_agent_sees_its_own_short_list() -> None:
    schema = seen("agent", "containerEvent")
    assert set(schema.fields) == {
        "data",
        "dockerInspect",
        "externalFrom",
        "externalId",
        "externalStatus",
        "externalTimestamp",
        "id",
        "reportedHostUuid",
    }
    assert schema.fields["dockerInspect"].nullable
    assert schema.actions == {}


def test_base_type_is_the_topmost_visible_parent() -> None:
    assert seen("owner", "launchConfig").base_type == "instance"
    assert seen("owner", "project").base_type == "account"
    assert seen("owner", "pullTask").base_type == "genericObject"


def test_links_lead_to_visible_types_through_readable_fields() -> None:
    for role in ("owner", "readonly", "agent", "superadmin"):
        view = schemas("v2-beta", role)
        for schema in view:
            for link in schema.links.values():
                assert link.type in view
                if link.kind == "reference":
                    assert schema.fields[link.field or ""].readable


@pytest.mark.parametrize(
    ("name", "link", "path"),
    [
        ("host", "instances", ("id", "hostId")),
        ("container", "hosts", ("hostId", "id")),
        ("host", "storagePools", ("id", "hostId")),
        ("host", "ipAddresses", ("id", "hostId")),
    ],
)
def test_map_links_that_need_no_join_table(name: str, link: str, path: tuple[str, str]) -> None:
    assert seen("owner", name).links[link].path == path


def test_a_view_is_resolved_once() -> None:
    assert seen("owner", "service") is seen("owner", "services")
    assert schemas("v2-beta", "owner") is schemas("v2-beta", "owner")


def test_iteration_is_in_the_order_of_names() -> None:
    names = [schema.id for schema in schemas("v2-beta", "owner")]
    assert names == sorted(names)
    assert len(names) == len(schemas("v2-beta", "owner"))


def test_a_role_without_schemas_sees_nothing() -> None:
    assert list(schemas("v2-beta", "nobody")) == []


def test_the_role_environment_has_one_set_for_both_versions() -> None:
    assert schemas("v1", "environment").get("stack") is not None


def test_filters_follow_the_type_of_a_column() -> None:
    filters = seen("owner", "service").filters
    assert filters["name"] == ("eq", "ne", "prefix", "like", "notlike", "null", "notnull")
    assert filters["created"] == ("eq", "ne", "lt", "lte", "gt", "gte", "null", "notnull")
    assert filters["stackId"] == ("eq", "ne", "null", "notnull")
    assert "launchConfig" not in filters
    assert seen("owner", "register").extra_filters == {"token": ("eq",)}


def test_actions_that_no_release_offered_are_marked() -> None:
    assert not seen("owner", "container", "v1").actions["restore"].offered
    assert seen("owner", "container", "v1").actions["start"].offered
