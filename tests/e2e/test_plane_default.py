"""What an installation has without being asked for it."""

import json
from typing import Any

import pytest

from lab import LabError, LabHost
from tests.e2e.plane import Plane
from tests.e2e.waiting import eventually

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.parametrize("planes", ["VXLAN"], indirect=True, ids=["vxlan"]),
]

_STACKS = {"network-services", "ipsec", "scheduler", "healthcheck"}
_GET = """
import sys, urllib.request
with urllib.request.urlopen("http://127.0.0.1:8080/v2-beta/" + sys.argv[1]) as answer:
    print(answer.read().decode())
"""


async def test_the_first_environment_has_the_template_of_the_settings(plane: Plane) -> None:
    environment = await plane.api.unscoped().get("project", plane.url.rpartition("/")[2])
    assert environment["uuid"] == "adminProject"
    stacks = {each.text("name") for each in await plane.api.list("stack", {"system": True, "removed_null": 1})}
    assert stacks == {"network-services", "vxlan", "scheduler", "healthcheck"}


async def test_a_server_from_the_image_equips_its_first_environment(plane: Plane) -> None:
    host = plane.hosts[0]
    container = (await host.run("docker", "run", "-d", "drover:latest", "server", "--auth", "none")).strip()

    async def stacks() -> list[dict[str, Any]]:
        projects = await _list(host, container, "projects")
        return await _list(host, container, f"projects/{projects[0]['id']}/stacks") if projects else []

    try:
        found = await eventually(stacks, lambda seen: len(seen) >= len(_STACKS), what="the environment has its stacks")
        assert {each["name"] for each in found} == _STACKS
        assert all(each["system"] for each in found)
        assert {each["environment"]["DROVER_IMAGE"] for each in found} == {"drover:latest"}
        settings = await _list(host, container, "settings?limit=1000")
        (image,) = [each for each in settings if each["id"] == "bootstrap.required.image"]
        assert (image["activeValue"], image["source"]) == ("drover:latest", "Default Environment Variables")
    finally:
        await host.run("docker", "rm", "-f", "-v", container)


async def _list(host: LabHost, container: str, path: str) -> list[dict[str, Any]]:
    """What the server in a container has at a path; nothing while it is starting."""
    command = ("docker", "exec", container, "/opt/drover/bin/python", "-c", _GET, path)
    try:
        return list(json.loads(await host.run(*command))["data"])
    except LabError:
        return []
