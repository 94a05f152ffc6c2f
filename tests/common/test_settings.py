from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest

from drover.common.errors import SettingsError
from drover.common.settings import describe, load_settings, setting


class Mode(StrEnum):
    FAST = "fast"
    SAFE = "safe"


@dataclass(frozen=True, slots=True)
class Sample:
    url: str = setting(help="Where the server is.", env=("CATTLE_URL",))
    port: int = setting(default=8080, help="Port to listen on.")
    ratio: float = 0.5
    verbose: bool = False
    data_dir: Path | None = None
    mode: Mode = Mode.SAFE
    auth: Literal["local", "none"] = "local"
    names: tuple[str, ...] = ()
    password: str | None = setting(default=None, secret=True)
    clock: Callable[[], float] | None = None


def test_flag_beats_environment_beats_default() -> None:
    environ = {"DROVER_URL": "http://env", "DROVER_PORT": "1"}
    loaded = load_settings(Sample, flags={"port": 2, "ratio": None}, environ=environ)
    assert (loaded.url, loaded.port, loaded.ratio) == ("http://env", 2, 0.5)


def test_text_becomes_the_declared_type() -> None:
    environ = {
        "CATTLE_URL": "http://old",
        "DROVER_RATIO": "0.25",
        "DROVER_VERBOSE": "yes",
        "DROVER_DATA_DIR": "/var/lib/drover",
        "DROVER_MODE": "fast",
        "DROVER_AUTH": "none",
        "DROVER_NAMES": "a, b",
    }
    assert load_settings(Sample, environ=environ) == Sample(
        url="http://old",
        ratio=0.25,
        verbose=True,
        data_dir=Path("/var/lib/drover"),
        mode=Mode.FAST,
        auth="none",
        names=("a", "b"),
    )


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("DROVER_PORT", "many", "DROVER_PORT: 'many' is not a number"),
        ("DROVER_VERBOSE", "perhaps", "neither true nor false"),
        ("DROVER_MODE", "slow", "'slow' is not one of fast, safe"),
        ("DROVER_AUTH", "ldap", "'ldap' is not one of local, none"),
    ],
)
def test_unusable_values_name_their_source(variable: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(Sample, environ={"DROVER_URL": "http://x", variable: value})


def test_a_missing_required_setting_names_flag_and_variable() -> None:
    with pytest.raises(SettingsError, match="--url is required: give the flag or set DROVER_URL"):
        load_settings(Sample, environ={})


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(SettingsError, match="no setting named colour"):
        load_settings(Sample, flags={"url": "http://x", "colour": "red"}, environ={})


def test_description_drives_the_help() -> None:
    fields = {field.name: field for field in describe(Sample)}
    assert "clock" not in fields
    assert fields["url"].required
    assert fields["url"].environment == ("DROVER_URL", "CATTLE_URL")
    assert fields["data_dir"].flag == "--data-dir"
    assert fields["mode"].choices == ("fast", "safe")
    assert fields["auth"].choices == ("local", "none")
    assert fields["names"].repeated
    assert fields["verbose"].is_switch


def test_secrets_are_not_in_the_representation() -> None:
    assert "hunter2" not in repr(Sample(url="http://x", password="hunter2"))
