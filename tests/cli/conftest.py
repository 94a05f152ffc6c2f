import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from drover.cli.app import app
from tests.wire import WireServer, serving_in_thread

Run = Callable[..., Result]


@pytest.fixture
def server() -> Iterator[WireServer]:
    with serving_in_thread() as wire:
        yield wire


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file of its own; nothing of the developer's machine shines through."""
    for name in list(os.environ):
        if name.startswith(("RANCHER_", "DROVER_", "COMPOSE_")):
            monkeypatch.delenv(name)
    path = tmp_path / "rancher" / "cli.json"
    monkeypatch.setenv("DROVER_CLIENT_CONFIG", str(path))
    return path


@pytest.fixture
def unconfigured(config: Path) -> Run:
    """Runs `drover ARGS` without a server."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin, catch_exceptions=False)

    return run


@pytest.fixture
def drover(server: WireServer, unconfigured: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `drover ARGS` against the server in memory."""
    monkeypatch.setenv("DROVER_URL", f"{server.url}/v2-beta/projects/1a5")
    monkeypatch.setenv("DROVER_ACCESS_KEY", "key")
    monkeypatch.setenv("DROVER_SECRET_KEY", "secret")
    return unconfigured
