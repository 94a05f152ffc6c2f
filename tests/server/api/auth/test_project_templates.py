"""Who may see, use and change the templates of environments."""

from __future__ import annotations

from typing import Any

import pytest

from drover.server.orchestration.infrastructure.project_templates import seed_templates
from tests.server.api.auth.conftest import Server

pytestmark = pytest.mark.anyio

ENTRY: dict[str, Any] = {"name": "tool", "dockerCompose": "services: {}"}


async def test_built_in_templates_are_for_everybody_and_changed_by_administrators(server: Server) -> None:
    await seed_templates(server.context)
    await server.person("ann")
    ann = await server.login("ann", "correct horse")
    listed = {each["name"]: each for each in (await ann.get("projecttemplates")).json["data"]}
    plain = listed["Plain"]["id"]
    for refused in (
        await ann.put(f"projecttemplates/{plain}", {"description": "mine"}),
        await ann.delete(f"projecttemplates/{plain}"),
    ):
        assert refused.status == 403
    created = await ann.post("projects", {"name": "x", "projectTemplateId": plain})
    assert (created.status, created.json["projectTemplateId"]) == (201, plain)
    admin = await server.admin()
    assert (await admin.put(f"projecttemplates/{plain}", {"description": "ours"})).status == 200


async def test_own_templates_are_ones_own(server: Server) -> None:
    for name in ("ann", "bob"):
        await server.person(name)
    ann, bob = await server.login("ann", "correct horse"), await server.login("bob", "correct horse")
    created = await ann.post("projecttemplates", {"name": "hers", "stacks": [ENTRY], "isPublic": True})
    assert created.status == 201, created.json
    own = created.json["id"]
    assert not any(each["id"] == own for each in (await bob.get("projecttemplates")).json["data"])
    assert (await bob.get(f"projecttemplates/{own}")).status == 404
    refused = await bob.post("projects", {"name": "x", "projectTemplateId": own})
    assert (refused.status, refused.json["code"]) == (422, "InvalidReference")
    assert (await ann.put(f"projecttemplates/{own}", {"description": "new"})).status == 200
    assert (await ann.delete(f"projecttemplates/{own}")).status == 200
