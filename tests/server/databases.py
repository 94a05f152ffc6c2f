"""Real PostgreSQL and MariaDB servers for the tests, each in a temporary directory on a Unix socket or loopback port.

They are started once a session, on first use, and end with it. A server that is not installed fails the test that
needs it: ``make test`` installs both.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_START_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _run(user: str, *command: str | Path) -> None:
    """Database servers refuse to run as root; the Debian packages bring a user for each."""
    words = [str(word) for word in command]
    if os.geteuid() == 0:
        words = ["runuser", "-u", user, "--", *words]
    subprocess.run(words, check=True, capture_output=True, timeout=120)


def _spawn(user: str, log: Path, *command: str | Path) -> subprocess.Popen[bytes]:
    words = [str(word) for word in command]
    if os.geteuid() == 0:
        words = ["runuser", "-u", user, "--", *words]
    with log.open("wb") as output:
        return subprocess.Popen(words, stdout=output, stderr=output, start_new_session=True)


def _await(ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the database did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    os.killpg(process.pid, number)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _postgres_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql (make test does)")
    return found[-1].parent


def _own(directory: Path, user: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        shutil.chown(directory, user)
        for parent in [directory, *directory.parents]:
            if parent.owner() == "root" and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)


@contextmanager
def postgresql(directory: Path) -> Iterator[Callable[[], str]]:
    """A running PostgreSQL; yields a function that makes an empty database and returns its URL."""
    programs = _postgres_programs()
    data, log, port = directory / "pg", directory / "pg.log", free_port()
    _own(data, "postgres")
    _run("postgres", programs / "initdb", "-D", data, "-U", "drover", "--auth=trust", "--no-sync", "-E", "UTF8")
    arguments = ("-c", "listen_addresses=127.0.0.1", "-c", f"port={port}", "-c", f"unix_socket_directories={data}")
    process = _spawn("postgres", log, programs / "postgres", "-D", data, *arguments)
    administer = (programs / "psql", "-h", "127.0.0.1", "-p", str(port), "-U", "drover", "-d", "postgres", "-c")

    def ready() -> bool:
        return subprocess.run([*administer, "SELECT 1"], capture_output=True, check=False).returncode == 0

    def create() -> str:
        name = f"t{uuid.uuid4().hex}"
        subprocess.run([*administer, f"CREATE DATABASE {name}"], check=True, capture_output=True)
        return f"postgresql://drover@127.0.0.1:{port}/{name}"

    try:
        _await(ready, log)
        yield create
    finally:
        _stop(process, signal.SIGINT)


@contextmanager
def mariadb(directory: Path) -> Iterator[Callable[[], str]]:
    """A running MariaDB; yields a function that makes an empty database and returns its URL."""
    server = shutil.which("mariadbd") or shutil.which("mysqld", path="/usr/sbin:/usr/bin")
    if server is None:
        raise RuntimeError("MariaDB is not installed: apt-get install mariadb-server (make test does)")
    data, log, port = directory / "maria", directory / "maria.log", free_port()
    _own(data, "mysql")
    _run(
        "mysql", "mariadb-install-db", f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db"
    )
    process = _spawn(
        "mysql",
        log,
        server,
        "--no-defaults",
        f"--datadir={data}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--socket={data}/s",
        f"--pid-file={data}/p",
        "--innodb-flush-log-at-trx-commit=2",
    )
    administer = (
        "mariadb",
        "--no-defaults",
        "-h",
        "127.0.0.1",
        "-P",
        str(port),
        "--protocol=tcp",
        "-u",
        "drover",
        "-e",
    )
    as_root = ("mariadb", "--no-defaults", f"--socket={data}/s", "-u", "root", "-e")

    def ready() -> bool:
        grant = "CREATE USER IF NOT EXISTS drover@'127.0.0.1'; GRANT ALL ON *.* TO drover@'127.0.0.1'"
        return subprocess.run([*as_root, grant], capture_output=True, check=False).returncode == 0

    def create() -> str:
        name = f"t{uuid.uuid4().hex}"
        sql = f"CREATE DATABASE {name} CHARACTER SET utf8mb4"
        subprocess.run([*administer, sql], check=True, capture_output=True)
        return f"mysql://drover@127.0.0.1:{port}/{name}"

    try:
        _await(ready, log)
        yield create
    finally:
        _stop(process, signal.SIGTERM)
