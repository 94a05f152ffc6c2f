"""Flags made from a settings dataclass. The program of this test lives in this module."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from typer.testing import CliRunner, Result

from drover.cli.app import app
from drover.cli.program_flags import program_app
from drover.cli.programs import PROGRAMS, Program
from drover.common.settings import setting


@dataclass(frozen=True, slots=True)
class SampleSettings:
    url: str = setting(help="Where the server is.")
    ping_seconds: float = setting(default=5.0, help="Seconds between pings.")
    quiet: bool = setting(default=False, help="Say less.")
    data_dir: Path = setting(default=Path("/var/lib/sample"), help="Folder.")
    mode: Literal["fast", "safe"] = setting(default="safe", help="How.")
    proxies: tuple[str, ...] = setting(default=(), help="Networks.")
    secret: str | None = setting(default=None, secret=True, help="Key.")


started: list[SampleSettings] = []


async def run_sample(settings: SampleSettings) -> None:
    started.append(settings)


SAMPLE = Program(
    name="sample",
    help="A sample.",
    settings=f"{__name__}:SampleSettings",
    run=f"{__name__}:run_sample",
    positional="url",
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    # Test modules are imported under names of pytest's; the loader of programs needs to find this one.
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.setattr("drover.common.logging.configure_logging", lambda *_, **__: None)
    for variable in ("DROVER_URL", "DROVER_MODE", "DROVER_PROXIES", "DROVER_QUIET"):
        monkeypatch.delenv(variable, raising=False)
    started.clear()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(program_app(SAMPLE), list(arguments), catch_exceptions=False)


def test_flags_reach_the_program_in_their_types() -> None:
    arguments = ["http://h", "--ping-seconds", "2", "--quiet", "--data-dir", "/x", "--proxies", "a", "--proxies", "b"]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert started == [
        SampleSettings(url="http://h", ping_seconds=2.0, quiet=True, data_dir=Path("/x"), proxies=("a", "b"))
    ]


def test_variables_reach_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROVER_URL", "http://env")
    monkeypatch.setenv("DROVER_MODE", "fast")
    monkeypatch.setenv("DROVER_PROXIES", "a,b")
    monkeypatch.setenv("DROVER_QUIET", "true")
    assert run("--no-quiet").exit_code == 0
    assert started == [SampleSettings(url="http://env", mode="fast", proxies=("a", "b"))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--url is required"),
        (["u", "--mode", "slow"], "--mode: 'slow' is not one of fast, safe"),
        (["u", "--ping-seconds", "soon"], "--ping-seconds: 'soon' is not a number"),
    ],
)
def test_unusable_values_stop_the_program(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert started == []


def test_help_names_flag_variable_and_default() -> None:
    text = " ".join(run("--help").stdout.split())
    assert "--ping-seconds <str> Seconds between pings. Default: 5.0. [env var: DROVER_PING_SECONDS]" in text
    assert "One of fast, safe." in text
    assert "--quiet / --no-quiet" in text
    assert "comma list" in text
    assert "--log-level" in text


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_every_program_describes_itself(program: Program) -> None:
    result = CliRunner().invoke(app, [program.name, "--help"], catch_exceptions=False)
    assert result.exit_code == 0
    assert f" {program.name} [OPTIONS]" in result.stdout
    assert "--log-format" in result.stdout
