from __future__ import annotations

from drover.server.resources.settings import SETTINGS, env_name
from tests.server.resources import facts


def test_settings_conform_to_the_facts() -> None:
    expected = facts.load("settings")
    assert set(SETTINGS) == set(expected["settings"])
    for name, item in expected["settings"].items():
        ours = SETTINGS[name]
        assert ours.default == item.get("serverImage", item["default"])
        assert ours.public == item.get("public", False)
        assert ours.service_only == (name in expected["serviceOnly"])


def test_the_list_of_public_settings_names_the_public_ones() -> None:
    listed = set(SETTINGS["settings.public"].default.split(","))
    assert {name for name, item in SETTINGS.items() if item.public} <= listed


def test_environment_variables() -> None:
    assert SETTINGS["api.host"].env_name == "CATTLE_API_HOST"
    assert env_name("main_tables.purge.after.seconds") == "CATTLE_MAIN_TABLES_PURGE_AFTER_SECONDS"
