import json
from pathlib import Path

import pytest

from drover.cli.config import Config, ConfigError, read_config, write_config
from tests.cli.conftest import Run
from tests.wire import WireServer


def test_the_file_is_private_and_keeps_foreign_keys(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "cli.json"
    path.parent.mkdir()
    path.write_text('{"path": "/x", "url": "http://old"}')
    write_config(path, Config("http://h", "A", "S", "1a5"))
    assert path.stat().st_mode & 0o777 == 0o600
    stored = json.loads(path.read_text())
    assert stored == {"path": "/x", "url": "http://h", "accessKey": "A", "secretKey": "S", "environment": "1a5"}
    assert read_config(path) == Config("http://h", "A", "S", "1a5")
    assert [entry.name for entry in path.parent.iterdir()] == ["cli.json"]


def test_the_secret_is_not_in_the_representation() -> None:
    assert "S3cret" not in repr(Config("http://h", "A", "S3cret"))


def test_a_missing_file_is_an_empty_configuration(tmp_path: Path) -> None:
    assert read_config(tmp_path / "none.json") == Config()


@pytest.mark.parametrize("text", ["nonsense", "[1]"])
def test_a_broken_file_says_what_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cli.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="drover login"):
        read_config(path)


def test_login_stores_a_key_and_the_environment(server: WireServer, unconfigured: Run, config: Path) -> None:
    server.password = ("ann", "pass:word")
    server.add("project", id="1a5", name="Default")
    result = unconfigured("login", server.url, "-u", "ann", "--password-stdin", stdin="pass:word\n")
    assert result.exit_code == 0, result.stderr
    stored = read_config(config)
    assert stored == Config(f"{server.url}/v2-beta", "ABCDEF0123456789ABCD", "s" * 40, "1a5")
    assert "pass:word" not in config.read_text()
    server.requests.clear()
    assert unconfigured("stacks").exit_code == 0
    assert server.requests[0].startswith("GET /v2-beta/projects/1a5/stacks")


def test_a_wrong_password_stores_nothing(server: WireServer, unconfigured: Run, config: Path) -> None:
    server.password = ("ann", "right")
    result = unconfigured("login", server.url, "-u", "ann", "--password-stdin", stdin="wrong\n")
    assert result.exit_code == 5
    assert not config.exists()


def test_config_asks_and_prints_without_the_secret(server: WireServer, unconfigured: Run, config: Path) -> None:
    server.add("project", id="1a5", name="Default")
    server.add("project", id="1a7", name="Staging")
    result = unconfigured("--env", "Staging", "config", stdin=f"{server.url}\nAK\nSK\n")
    assert result.exit_code == 0, result.stderr
    assert read_config(config).environment == "1a7"
    printed = unconfigured("config", "--print").stdout
    assert json.loads(printed)["accessKey"] == "AK"
    assert "SK" not in printed


def test_stored_keys_go_to_their_own_server_only(server: WireServer, unconfigured: Run, config: Path) -> None:
    write_config(config, Config("http://other.example.com", "AK", "SK", "1a9"))
    server.add("project", id="1a5", name="Default")
    assert unconfigured("--url", server.url, "stacks").exit_code == 0
    assert all("Authorization" not in headers for headers in server.headers)


def test_a_broken_configuration_is_a_usage_error(unconfigured: Run, config: Path) -> None:
    config.parent.mkdir()
    config.write_text("nonsense")
    for arguments in (["stacks"], ["login"], ["config", "--print"]):
        result = unconfigured(*arguments)
        assert result.exit_code == 2
        assert "is no JSON file" in result.stderr
