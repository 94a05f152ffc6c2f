"""Programs that run for long start without the option parser, and exactly as with it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from drover.cli import programs
from drover.cli.programs import Program, run_directly
from drover.common.settings import setting


@dataclass(frozen=True, slots=True)
class SampleSettings:
    url: str = setting(default="", help="Where.")
    seconds: float = setting(default=5.0, help="How long.")
    quiet: bool = setting(default=False, help="Say less.")
    loud: bool = setting(default=True, help="Say more.")
    folder: Path = setting(default=Path("/var"), help="Folder.")
    names: tuple[str, ...] = setting(default=(), help="Names.")


started: list[SampleSettings] = []
configured: list[tuple[object, ...]] = []


async def run_sample(settings: SampleSettings) -> None:
    started.append(settings)


@pytest.fixture(autouse=True)
def sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    made = Program("sample", "A sample.", f"{__name__}:SampleSettings", f"{__name__}:run_sample", positional="url")
    monkeypatch.setattr(programs, "PROGRAMS", (made,))
    monkeypatch.setattr("drover.common.logging.configure_logging", lambda *given, **_: configured.append(given))
    for name in [name for name in os.environ if name.startswith("DROVER_")]:
        monkeypatch.delenv(name)
    started.clear()
    configured.clear()


def start(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run_directly(["sample", *arguments])
    return int(str(ended.value.code))


def test_flags_reach_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROVER_URL", "http://env")
    monkeypatch.setenv("DROVER_LOG_FORMAT", "json")
    assert start("--seconds", "2", "--quiet", "--no-loud", "--folder=/x", "--names", "a", "--names=b") == 0
    expected = SampleSettings("http://env", 2.0, True, False, Path("/x"), ("a", "b"))
    assert started == [expected]
    assert configured == [("info", "json")]
    assert start("--log-level", "debug", "--log-format=text") == 0
    assert configured[1] == ("debug", "text")


def test_an_unusable_value_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert start("--seconds", "soon") == 2
    assert "--seconds: 'soon' is not a number" in capsys.readouterr().err
    assert started == []


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("ps",),
        ("sample", "--help"),
        ("sample", "-h"),
        ("sample", "http://positional"),
        ("sample", "--unknown", "x"),
        ("sample", "--seconds"),
        ("sample", "--seconds", "--quiet"),
        ("sample", "--quiet=true"),
        ("sample", "--log-level", "chatty"),
        ("sample", "--log-format", "xml"),
        ("--config", "x", "sample"),
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(arguments: tuple[str, ...]) -> None:
    run_directly(arguments)
    assert started == []


def test_the_parsers_libraries_are_not_loaded() -> None:
    code = (
        "import sys; sys.argv = ['drover', 'metadata', '--listen', 'nowhere', '--answers', '/nowhere'];"
        "from drover.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print({'pydantic', 'typer', 'click', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "set()\n", done.stderr
    assert "drover: --listen: 'nowhere' is no address" in done.stderr
