import pytest

from tests.cli.conftest import Run
from tests.wire import Json, WireServer


def settle_later(server: WireServer, resource: Json, state: str) -> Json:
    """An action that takes a moment: transitioning first, settled with the next event."""
    resource.update(transitioning="yes")
    server._later(resource["id"], state=state, transitioning="no")
    return resource


def test_start_takes_the_action_that_the_type_has(server: WireServer, drover: Run) -> None:
    server.add("service", name="web", state="inactive", actions=["activate"])
    server.add("container", name="job", state="stopped", actions=["start"])
    server.actions["activate"] = lambda wire, resource, _: settle_later(wire, resource, "active")
    server.actions["start"] = lambda wire, resource, _: settle_later(wire, resource, "running")
    result = drover("start", "--wait", "web", "job")
    assert result.exit_code == 0
    assert {resource["state"] for resource in server.resources.values()} == {"active", "running"}
    assert result.stdout.splitlines() == list(server.resources)


def test_one_failure_does_not_keep_the_others(server: WireServer, drover: Run) -> None:
    server.add("service", name="broken", state="error")
    server.add("service", name="web", state="inactive", actions=["activate"])
    result = drover("activate", "broken", "web")
    assert result.exit_code == 2
    assert "offers none of start, activate" in result.stderr
    assert any("action=activate" in request for request in server.requests)


def test_nothing_is_changed_when_a_name_is_unknown(server: WireServer, drover: Run) -> None:
    server.add("service", name="web", actions=["deactivate"])
    assert drover("stop", "web", "nothing").exit_code == 3
    assert not any(request.startswith("POST") for request in server.requests)


def test_restart_in_batches(server: WireServer, drover: Run) -> None:
    server.add("service", name="web", actions=["restart"])
    server.add("container", name="job", actions=["restart"])
    assert drover("restart", "--batch-size", "3", "--interval", "500", "web", "job").exit_code == 0
    assert server.bodies == [{"rollingRestartStrategy": {"batchSize": 3, "intervalMillis": 500}}, None]


def test_rm_waits_until_it_is_gone(server: WireServer, drover: Run) -> None:
    raw = server.add("stack", name="shop")
    assert drover("rm", "--yes", "--wait", "shop").exit_code == 0
    assert raw["state"] == "removed"


def test_rm_stops_first(server: WireServer, drover: Run) -> None:
    raw = server.add("container", name="job", state="running", actions=["stop"])
    server.actions["stop"] = lambda wire, resource, _: settle_later(wire, resource, "stopped")
    assert drover("rm", "--stop", "job").exit_code == 0
    methods = [request.split()[0] for request in server.requests if raw["id"] in request]
    assert methods[0] == "POST"
    assert methods[-1] == "DELETE"


def test_rm_hints_when_the_state_forbids_it(server: WireServer, drover: Run) -> None:
    from aiohttp import web

    server.add("container", name="job", state="running")
    original = server._answer

    def answer(request: web.Request, rest: list[str], body: object) -> web.Response:
        if request.method == "DELETE":
            return web.json_response({"type": "error", "status": 405, "code": "Method not allowed"}, status=405)
        return original(request, rest, body)

    server._answer = answer  # type: ignore[method-assign]
    result = drover("rm", "job")
    assert result.exit_code == 1
    assert "use --stop" in result.stderr


def test_scale(server: WireServer, drover: Run) -> None:
    stack = server.add("stack", name="shop")
    raw = server.add("service", name="web", stackId=stack["id"], scale=1)
    assert drover("scale", "shop/web=3").exit_code == 0
    assert raw["scale"] == 3


@pytest.mark.parametrize("wish", ["web", "web=", "web=many", "=3", "web=-1"])
def test_scale_refuses_nonsense(drover: Run, wish: str) -> None:
    assert drover("scale", wish).exit_code == 2


def test_wait_for_a_state(server: WireServer, drover: Run) -> None:
    raw = server.add("service", name="web", state="active", healthState="healthy")
    assert drover("wait", "--for", "healthy", "web").stdout == f"{raw['id']}\n"


def test_volumes_and_secrets(server: WireServer, drover: Run, tmp_path) -> None:  # type: ignore[no-untyped-def]
    created = drover("volumes", "create", "--driver", "local", "--opt", "size=1G", "data")
    volume = server.resources[created.stdout.strip()]
    assert (volume["driver"], volume["driverOpts"]) == ("local", {"size": "1G"})
    assert "data" in drover("volumes").stdout
    file = tmp_path / "value"
    file.write_bytes(b"\x00secret")
    assert drover("secrets", "create", "password", str(file)).exit_code == 0
    assert server.bodies[-1] == {"name": "password", "value": "AHNlY3JldA=="}
    assert "password" in drover("secret", "ls").stdout
    assert drover("secrets", "rm", "password").exit_code == 0
    (tmp_path / "empty").write_bytes(b"")
    assert drover("secrets", "create", "none", str(tmp_path / "empty")).exit_code == 2


def test_registration_command(server: WireServer, drover: Run) -> None:
    command = (
        "sudo docker run --rm --privileged -v /var/run/docker.sock:/var/run/docker.sock image http://h/v1/scripts/T"
    )
    server.add("registrationToken", command=command)
    assert drover("hosts", "register-command").stdout.strip() == command
    shown = drover("hosts", "add", "--label", "rack=a b", "--label", "x=1", "--ip", "10.0.0.9").stdout
    assert "docker run -e 'CATTLE_HOST_LABELS=rack=a%20b&x=1' -e CATTLE_AGENT_IP=10.0.0.9 --rm" in shown


def test_a_registration_token_is_made_when_there_is_none(server: WireServer, drover: Run) -> None:
    def fill(resource: Json) -> None:
        resource["command"] = "sudo docker run image http://h/v1/scripts/T"

    server.on_create = fill
    assert "/v1/scripts/T" in drover("hosts", "register-command").stdout


def test_export(server: WireServer, drover: Run, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    server.add("stack", name="shop")
    server.add("stack", name="../evil")
    server.actions["exportconfig"] = lambda *_: {
        "type": "composeConfig",
        "dockerComposeConfig": "version: '2'\n",
        "rancherComposeConfig": "version: '2'\nservices: {}\n",
    }
    assert drover("export").exit_code == 0
    written = tmp_path / "shop" / "docker-compose.yml"
    assert written.read_text() == "version: '2'\n"
    assert written.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path.parent / "evil").exists()
    assert drover("export", "-f", "all.tar", "shop").exit_code == 0
    import tarfile

    with tarfile.open(tmp_path / "all.tar") as archive:
        assert archive.getnames() == ["shop/docker-compose.yml", "shop/rancher-compose.yml"]
