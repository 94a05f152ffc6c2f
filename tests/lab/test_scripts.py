"""The Makefile's scripts explain themselves on machines where they cannot work."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "cat", "dirname", "grep", "head", "id", "mkdir", "sort", "sha256sum", "cut")


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH with the shell's everyday tools and nothing else of the machine's /usr/bin."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in TOOLS:
        (programs / tool).symlink_to(f"/usr/bin/{tool}")
    return programs


def _run(script: str, *arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(path), "HOME": os.environ.get("HOME", "/")}
    command = ["/bin/bash", str(ROOT / "scripts" / script), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def _program(path: Path, name: str, text: str) -> None:
    (path / name).unlink(missing_ok=True)
    (path / name).write_text(f"#!/bin/sh\n{text}\n")
    (path / name).chmod(0o755)


def test_a_machine_without_apt_is_told_the_missing_packages(bare_path: Path) -> None:
    done = _run("install-packages", "lab", path=bare_path)
    assert done.returncode == 1
    assert "docker-registry" in done.stderr
    assert "install them by hand" in done.stderr


def test_a_user_without_root_is_told_the_command(bare_path: Path) -> None:
    _program(bare_path, "id", "echo 1000")
    _program(bare_path, "apt-get", "echo must not run; exit 1")
    done = _run("install-packages", "lab", path=bare_path)
    assert done.returncode == 1
    assert "sudo apt-get install --no-install-recommends" in done.stderr
    assert "must not run" not in done.stdout


def test_nothing_is_asked_for_when_nothing_is_missing(bare_path: Path) -> None:
    for program in ("dockerd", "iptables", "ip", "nsenter", "docker-registry", "curl"):
        _program(bare_path, program, "exit 0")
    done = _run("install-packages", "lab", path=bare_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("script", ["up", "down", "test"])
def test_without_root_the_way_out_is_named(script: str, bare_path: Path) -> None:
    _program(bare_path, "id", "echo 1000")
    done = _run(script, path=bare_path)
    assert done.returncode == 1
    assert f"sudo make {script}" in done.stderr


def test_every_script_is_valid_bash_and_executable() -> None:
    for script in sorted((ROOT / "scripts").iterdir()):
        if script.is_dir() or script.suffix == ".py":
            continue
        subprocess.run(["/bin/bash", "-n", str(script)], check=True)
        assert script.name == "lib.sh" or os.access(script, os.X_OK), f"{script.name} is not executable"
