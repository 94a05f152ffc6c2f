from __future__ import annotations

import pytest

from drover.server.resources import catalog, schemas


@pytest.mark.parametrize("text", ["container", "containers", "Containers", "CONTAINER"])
def test_a_type_is_found_by_singular_and_plural_in_any_case(text: str) -> None:
    found = catalog().find(text)
    assert found is not None
    assert found.name == "container"


@pytest.mark.parametrize(
    ("name", "plural"),
    [
        ("stack", "stacks"),
        ("ipAddress", "ipAddresses"),
        ("registry", "registries"),
        ("identity", "identities"),
        ("serviceProxy", "serviceProxies"),
        ("processSummary", "processSummary"),
        ("publish", "publish"),
        ("volumeStoragePoolMap", "volumeStoragePoolMaps"),
    ],
)
def test_plurals(name: str, plural: str) -> None:
    assert catalog().resource(name).plural == plural


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("container", "1i"),
        ("virtualMachine", "1i"),
        ("loadBalancerService", "1s"),
        ("project", "1a"),
        ("registryCredential", "1c"),
        ("registry", "1sp"),
        ("machine", "1ph"),
        ("kubernetesStack", "1st"),
        ("secret", "1se"),
        ("serviceExposeMap", "1sem"),
    ],
)
def test_id_prefix_comes_from_the_base_type(name: str, prefix: str) -> None:
    assert catalog().resource(name).id_prefix == prefix


def test_stacks_of_v1_are_environments() -> None:
    assert catalog("v1").resource("environment").id_prefix == "1e"
    assert catalog("v1").resource("kubernetesStack").id_prefix == "1e"
    schema = schemas("v1", "owner").get("environments")
    assert schema is not None
    assert schema.stored_type == "stack"
    service = schemas("v1", "owner").get("service")
    assert service is not None
    assert service.fields["environmentId"].stored_as == "stackId"
    assert "stack" not in service.links
    assert service.links["environment"].field == "stackId"


def test_unknown_names() -> None:
    assert catalog().find("nothing") is None
    with pytest.raises(KeyError, match="nothing"):
        catalog().resource("nothing")
    with pytest.raises(KeyError, match=r"nothing\.create"):
        catalog().process("nothing.create")
    with pytest.raises(ValueError, match="v3"):
        catalog("v3")


def test_base_types_and_tables() -> None:
    assert catalog().base("container").name == "instance"
    assert catalog().stored_base("loadBalancerService") == "service"
    assert catalog().stored_base("host") == "host"
    with pytest.raises(LookupError):
        catalog().stored_base("launchConfig")


def test_processes_of_a_type() -> None:
    names = {process.name for process in catalog().processes_of("stack")}
    assert {"stack.create", "stack.upgrade", "stack.rollback"} <= names
    assert catalog().processes_of("launchConfig") == ()


def test_transitioning_states_belong_to_one_state_field() -> None:
    assert "starting" in catalog().transitioning_states("instance")
    assert "activating" not in catalog().transitioning_states("instance")
    assert catalog().transitioning_states("instance", "allocationState") == {"activating", "deactivating"}
    assert catalog().transitioning_states("setting") == frozenset()


def test_every_parent_is_declared_before_its_kinds() -> None:
    seen: set[str] = set()
    for item in catalog().resources.values():
        assert item.parent is None or item.parent in seen
        seen.add(item.name)


def test_secrets_are_marked() -> None:
    marked = {
        (item.name, name)
        for item in catalog().resources.values()
        for name, field in item.fields.items()
        if field.secret
    }
    assert {
        ("apiKey", "secretValue"),
        ("certificate", "key"),
        ("secret", "value"),
        ("agent", "secretValue"),
        ("hostTemplate", "secretValues"),
        ("changeSecretInput", "oldSecret"),
        ("localAuthConfig", "password"),
        ("machine", "authKey"),
    } <= marked


def test_what_is_shown_on_create_only_is_secret() -> None:
    for version in ("v1", "v2-beta"):
        for schema in schemas(version, "admin"):
            for field in schema.fields.values():
                assert field.secret or not field.read_on_create_only, f"{schema.id}.{field.name}"
