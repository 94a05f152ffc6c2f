from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Run
from tests.wire import WireServer


def test_create_from_a_template(server: WireServer, drover: Run) -> None:
    template = server.add("projectTemplate", name="Cattle")
    created = drover("env", "create", "--template", "cattle", "staging")
    assert created.exit_code == 0, created.stderr
    assert server.bodies == [{"name": "staging", "projectTemplateId": template["id"]}]
    assert created.stdout.strip() in server.resources
    assert drover("environment", "create", "-t", "Swarm", "x").exit_code == 3


def test_without_a_template_the_server_decides(server: WireServer, drover: Run) -> None:
    created = drover("env", "create", "staging")
    assert created.exit_code == 0, created.stderr
    assert server.bodies == [{"name": "staging"}]


def test_upgrade(server: WireServer, drover: Run) -> None:
    raw = server.add("project", name="staging", actions=["upgrade"])
    result = drover("env", "upgrade", "staging")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == raw["id"]
    assert any(request.endswith("action=upgrade") for request in server.requests)


def test_activate_deactivate_remove(server: WireServer, drover: Run) -> None:
    raw = server.add("project", name="staging", actions=["activate", "deactivate"])
    for command in ("deactivate", "activate", "rm"):
        assert drover("env", command, "staging").exit_code == 0
    sent = [request.split(" ")[0] + request[-10:] for request in server.requests if raw["id"] in request]
    assert len(sent) == 3
    assert raw["state"] == "removed" or raw["transitioning"] == "yes"
    # Environments are resources of the server, not of an environment.
    assert not any("/projects/1a5/" in request for request in server.requests)


def test_templates_out_and_in(server: WireServer, drover: Run, tmp_path: Path) -> None:
    stacks = [{"name": "healthcheck", "templateId": "library:infra*healthcheck", "answers": {"A": "1"}}]
    server.add("projectTemplate", name="Ours", description="As we like it", stacks=stacks)
    assert "As we like it" in drover("env", "templates").stdout
    text = drover("env", "templates", "export", "Ours").stdout
    document = yaml.safe_load(text)
    assert document["stacks"][0]["template_id"] == "library:infra*healthcheck"
    file = tmp_path / "template.yml"
    file.write_text(text.replace("Ours", "Copy"))
    assert drover("env", "templates", "import", "--public", str(file)).exit_code == 0
    assert server.bodies[-1] == {
        "name": "Copy",
        "description": "As we like it",
        "stacks": stacks,
        "isPublic": True,
    }


@pytest.mark.parametrize("text", ["[]", "stacks: []", "name: x\nstacks: [a]", "{"])
def test_broken_templates(drover: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "template.yml"
    file.write_text(text)
    assert drover("env", "templates", "import", str(file)).exit_code == 2
