"""Exit status and messages: what scripts build on."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from drover.cli.main import program_arguments
from tests.cli.conftest import Run
from tests.wire import WireServer


def test_without_a_server(unconfigured: Run) -> None:
    result = unconfigured("ps")
    assert result.exit_code == 2
    assert "run `drover login URL`" in result.stderr


def test_not_found(drover: Run) -> None:
    result = drover("inspect", "nothing")
    assert result.exit_code == 3
    assert result.stderr.startswith("drover: there is no service, container")


@pytest.mark.parametrize(
    ("status", "code", "expected"), [(401, "Unauthorized", 5), (403, "Forbidden", 6), (500, "X", 1)]
)
def test_errors_of_the_server(server: WireServer, drover: Run, status: int, code: str, expected: int) -> None:
    server.fail_next(status, code, detail="because")
    result = drover("stacks")
    assert result.exit_code == expected
    assert "because" in result.stderr
    assert result.stdout == ""


def test_one_of_two_parallel_requests_fails(server: WireServer, drover: Run) -> None:
    server.fail_next(401, "Unauthorized")
    assert drover("ps").exit_code == 5


def test_no_connection(unconfigured: Run) -> None:
    result = unconfigured("--url", "http://127.0.0.1:1/v2-beta/projects/1a5", "stacks")
    assert result.exit_code == 7
    assert "cannot reach" in result.stderr


def test_unknown_flag(drover: Run) -> None:
    assert drover("ps", "--colour").exit_code == 2


def test_a_wait_that_takes_too_long(server: WireServer, drover: Run) -> None:
    server.add("service", name="web", state="activating", transitioning="yes")
    result = drover("wait", "--timeout", "0.1", "web")
    assert result.exit_code == 4
    assert "still 'activating'" in result.stderr


def test_a_wait_that_ends_in_an_error(server: WireServer, drover: Run) -> None:
    server.add("service", name="web", state="activating", transitioning="error", transitioningMessage="no room")
    result = drover("wait", "web")
    assert result.exit_code == 1
    assert "no room" in result.stderr


def test_an_address_alone_means_the_agent() -> None:
    url = "http://server:8080/v1/scripts/TOKEN"
    assert program_arguments([url]) == ["agent", url]
    assert program_arguments(["ps"]) == ["ps"]
    assert program_arguments([]) == []


def test_help_is_instant(config: Path) -> None:
    """Measured in imports, which do not depend on how busy the machine is."""
    heavy = ("aiohttp", "rich", "yaml", "jinja2", "msgspec", "structlog", "drover.client.api", "drover.server")
    program = f"import sys; import drover.cli.app; print([name for name in {heavy!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.slow
def test_help(config: Path) -> None:
    """The figure is for the reader; that little is imported, which decides it, is tested above."""
    program = "import sys; sys.argv = ['drover', '--help']; from drover.cli.main import main; main()"
    best = 10.0
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert "Run containers on many hosts" in answer.stdout
    print(f"{best:.3f} s of processor time")
