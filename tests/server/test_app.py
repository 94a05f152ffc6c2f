"""The server as a process: it says so when it is ready, and ends when it is told to."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_START_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Process:
    """A ``drover server`` on a free port."""

    def __init__(self, data_dir: Path, *flags: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.data_dir = data_dir
        self.log = data_dir.with_suffix(".log")
        command = [sys.executable, "-m", "drover", "server", "--listen", self.url.removeprefix("http://")]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "--data-dir", str(data_dir), *flags], stdout=output, stderr=output
            )
        deadline = time.monotonic() + _START_SECONDS
        while self.get("/healthz") != 200:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def get(self, path: str) -> int:
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def end(self, number: signal.Signals) -> float:
        """Seconds until it was gone."""
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(60)
        return time.monotonic() - started


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_the_first_password_is_printed_once(data_dir: Path) -> None:
    for _ in range(2):
        server = Process(data_dir)
        assert server.get("/v2-beta/projects") == 401
        server.end(signal.SIGTERM)
        assert server.process.returncode == 0
    assert server.log.read_text().count("with the password") == 1


def test_it_ends_soon_with_subscribers_and_work_under_way(data_dir: Path) -> None:
    server = Process(data_dir, "--auth", "none")
    command = [sys.executable, "-m", "drover", "simulate", "--hosts", "5", "--url", server.url, "--latency", "5000"]
    hosts = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(3)
        duration = server.end(signal.SIGTERM)
    finally:
        hosts.terminate()
        hosts.wait(60)
    print(f"SIGTERM to exit: {duration:.2f} s")
    assert server.process.returncode == 0
    assert "Traceback" not in server.log.read_text()


def test_a_second_server_on_the_port_is_refused_with_advice(data_dir: Path) -> None:
    server = Process(data_dir, "--auth", "none")
    listen = server.url.removeprefix("http://")
    second = subprocess.run(
        [sys.executable, "-m", "drover", "server", "--listen", listen, "--data-dir", str(data_dir.parent / "other")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    server.end(signal.SIGKILL)
    assert second.returncode != 0
    assert "choose another port" in second.stderr
    assert not (data_dir.parent / "other" / "drover.db").exists()
