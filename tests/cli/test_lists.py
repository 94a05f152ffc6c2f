import json

import pytest
import yaml

from tests.cli.conftest import Run
from tests.wire import WireServer


@pytest.fixture
def shop(server: WireServer) -> WireServer:
    stack = server.add("stack", name="shop", serviceIds=["1s2"], system=False, externalId="catalog://x")
    host = server.add(
        "host", id="1h1", hostname="node1", agentState="active", agentIpAddress="10.0.0.1", instanceIds=[]
    )
    host["labels"] = {"rack": "a", "io.rancher.host.docker_version": "20.10"}
    one = server.add(
        "container",
        name="shop-web-2",
        state="running",
        hostId="1h1",
        imageUuid="docker:nginx:1.25",
        primaryIpAddress="10.42.0.7",
        externalId="abcdef0123456789",
        system=False,
    )
    two = server.add("container", name="shop-web-10", state="running", hostId="1h1", system=False)
    server.add(
        "service",
        name="web",
        stackId=stack["id"],
        launchConfig={"imageUuid": "docker:nginx:1.25"},
        secondaryLaunchConfigs=[{"name": "logger", "imageUuid": "docker:fluentd"}],
        healthState="degraded",
        scale=2,
        instanceIds=[one["id"], two["id"]],
        publicEndpoints=[{"ipAddress": "10.0.0.1", "port": 80}],
        system=False,
    )
    return server


def test_ps_shows_services_with_two_requests(shop: WireServer, drover: Run) -> None:
    shop.requests.clear()
    result = drover("ps")
    assert result.exit_code == 0
    header, web, sidekick = result.stdout.splitlines()
    assert header.split() == ["ID", "TYPE", "NAME", "IMAGE", "STATE", "SCALE", "SYSTEM", "ENDPOINTS", "DETAIL"]
    assert web.split()[1:] == ["service", "shop/web", "nginx:1.25", "degraded", "2/2", "false", "10.0.0.1:80"]
    assert sidekick.split()[1:4] == ["sidekick", "shop/web/logger", "fluentd"]
    assert len(shop.requests) == 2
    assert any("system=false" in request and "removed_null=1" in request for request in shop.requests)


def test_the_scale_counts_units_not_containers(server: WireServer, drover: Run) -> None:
    stack = server.add("stack", name="shop", system=False)
    common = {"stackId": stack["id"], "instanceIds": ["1i1", "1i2", "1i3", "1i4"], "system": False}
    server.add("service", name="pair", scale=2, currentScale=2, **common)
    everywhere = {"labels": {"io.rancher.scheduler.global": "true"}}
    server.add("service", name="everywhere", scale=1, currentScale=4, launchConfig=everywhere, **common)
    pair, glob = drover("ps").stdout.splitlines()[1:]
    assert " 2/2 " in pair
    assert " 4/global " in glob


def test_ps_containers_with_two_requests(shop: WireServer, drover: Run) -> None:
    shop.requests.clear()
    result = drover("ps", "-c")
    header, first, second = result.stdout.splitlines()
    assert header.split() == ["ID", "NAME", "IMAGE", "STATE", "HOST", "IP", "DOCKER", "DETAIL"]
    assert first.split()[1:] == ["shop-web-2", "nginx:1.25", "running", "node1", "10.42.0.7", "abcdef012345"]
    assert second.split()[1] == "shop-web-10"
    assert len(shop.requests) == 2


def test_ps_of_a_service(shop: WireServer, drover: Run) -> None:
    result = drover("ps", "shop/web")
    assert [line.split()[1] for line in result.stdout.splitlines()[1:]] == ["shop-web-2", "shop-web-10"]


def test_quiet_prints_ids(shop: WireServer, drover: Run) -> None:
    assert drover("hosts", "-q").stdout == "1h1\n"
    assert drover("hosts", "ls", "-q").stdout == "1h1\n"
    assert drover("host", "-q").stdout == "1h1\n"


def test_json_is_one_object_a_line(shop: WireServer, drover: Run) -> None:
    lines = drover("ps", "--format", "json").stdout.splitlines()
    row = json.loads(lines[0])
    assert (row["Name"], row["Scale"]) == ("shop/web", "2/2")
    assert row["Service"]["launchConfig"]["imageUuid"] == "docker:nginx:1.25"
    assert row["Stack"]["name"] == "shop"


def test_yaml_is_one_document_a_row(shop: WireServer, drover: Run) -> None:
    documents = list(yaml.safe_load_all(drover("stacks", "--format", "yaml").stdout))
    assert [document["Name"] for document in documents] == ["shop"]


@pytest.mark.parametrize(
    "template",
    ["{{ID}} {{Hostname}}", "{{.ID}} {{.Hostname}}", "{{ Host.id }} {{ Host.hostname }}", "{{.Host.id}} {{.Hostname}}"],
)
def test_templates_in_both_notations(shop: WireServer, drover: Run, template: str) -> None:
    assert drover("hosts", "--format", template).stdout == "1h1 node1\n"


def test_template_functions(shop: WireServer, drover: Run) -> None:
    result = drover("ps", "--format", "{{endpoint .Service.publicEndpoints}} {{json .Scale}}")
    assert result.stdout.splitlines()[0] == '10.0.0.1:80 "2/2"'


@pytest.mark.parametrize("template", ["{{.Nothing}}", "{{ broken", "{{ ''.__class__.__mro__ }}"])
def test_a_bad_template_is_a_usage_error(shop: WireServer, drover: Run, template: str) -> None:
    result = drover("hosts", "--format", template)
    assert result.exit_code == 2
    assert "--format" in result.stderr


def test_hosts_hide_labels_of_the_system(shop: WireServer, drover: Run) -> None:
    line = drover("hosts").stdout.splitlines()[1]
    assert line.split() == ["1h1", "node1", "active", "0", "10.0.0.1", "rack=a"]


def test_stacks(shop: WireServer, drover: Run) -> None:
    line = drover("stacks").stdout.splitlines()[1]
    assert line.split()[1:] == ["shop", "active", "catalog://x", "1", "false"]


def test_services_of_a_stack(shop: WireServer, drover: Run) -> None:
    other = shop.add("stack", name="blog")
    shop.add("service", name="cms", stackId=other["id"], launchConfig={}, system=False)
    assert "blog/cms" in drover("services").stdout
    listed = drover("services", "ls", "shop").stdout
    assert "shop/web" in listed
    assert "blog/cms" not in listed


def test_environments_are_not_in_a_project(shop: WireServer, drover: Run) -> None:
    shop.add("project", id="1a5", name="Default", orchestration="cattle", created="2019-02-03T10:11:12Z")
    shop.requests.clear()
    assert drover("env").stdout.splitlines()[1].split() == [
        "1a5",
        "Default",
        "cattle",
        "active",
        "2019-02-03T10:11:12Z",
    ]
    assert [request.split("?")[0] for request in shop.requests] == ["GET /v2-beta/projects"]


def test_names_cannot_control_the_terminal(server: WireServer, drover: Run) -> None:
    server.add("stack", name="evil\x1b[2J\x07", system=False)
    shown = drover("stacks").stdout
    assert "\x1b" not in shown
    assert "evil?[2J?" in shown


def test_inspect_hides_links_unless_asked(shop: WireServer, drover: Run) -> None:
    document = json.loads(drover("inspect", "shop").stdout)
    assert document["name"] == "shop"
    assert "links" not in document
    assert "links" in json.loads(drover("inspect", "--links", "shop").stdout)
    assert drover("inspect", "--format", "{{.name}}", "shop").stdout == "shop\n"
    assert yaml.safe_load(drover("inspect", "--format", "yaml", "shop").stdout)["name"] == "shop"
