"""From which layer a setting comes."""

from __future__ import annotations

import pytest

from drover.server.orchestration.settings import Settings
from tests.server.orchestration.conftest import Platform

pytestmark = pytest.mark.anyio

NAME = "catalog.execute"


async def test_the_layers_of_a_setting(platform: Platform) -> None:
    weak = {"DEFAULT_CATTLE_CATALOG_EXECUTE": "true"}
    bare, image, fixed = (
        Settings(platform.store, environment)
        for environment in ({}, weak, weak | {"CATTLE_CATALOG_EXECUTE": "certainly not"})
    )
    assert [each.bool(NAME) for each in (bare, image, fixed)] == [False, True, False]
    assert [each.source(NAME) for each in (bare, image, fixed)] == [
        "Code Packaged Defaults",
        "Default Environment Variables",
        "Environment Variables",
    ]
    assert [each.chosen(NAME) for each in (bare, image, fixed)] == [False, True, True]
    changes = platform.store.changes()
    row = changes.insert("setting", {"name": NAME, "value": "false"})
    await platform.store.commit(changes)
    assert [each.get(NAME) for each in (bare, image, fixed)] == ["false", "false", "certainly not"]
    assert [each.source(NAME) for each in (bare, image)] == ["Database", "Database"]
    changes = platform.store.changes()
    changes.delete(row)
    await platform.store.commit(changes)
    assert image.bool(NAME)
