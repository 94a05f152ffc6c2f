"""`down` leaves nothing, whatever happened before."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from lab import Lab
from lab.lab import remove_orphans
from lab.layout import LabLayout
from tests.lab.traces import traces_of

pytestmark = [pytest.mark.anyio, pytest.mark.e2e, pytest.mark.docker, pytest.mark.slow]


def _name() -> str:
    return f"d{os.getpid()}"


def _daemons(layout: LabLayout) -> list[int]:
    """Engines and shims, found by what their command lines say."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        program = Path(words[0]).name
        if program in {"dockerd", "containerd", "containerd-shim-runc-v2"} and str(layout.run) in " ".join(words):
            found.append(int(entry.name))
    return found


async def _run_containers(lab: Lab) -> list[int]:
    """One container a host, with a published port and a restart policy; their pids."""
    pids = []
    for host in lab.hosts:
        async with await host.docker() as docker:
            await docker.images.pull(lab.image("lab/web"))
            config: dict[str, Any] = {
                "Image": lab.image("lab/web"),
                "HostConfig": {
                    "RestartPolicy": {"Name": "always"},
                    "PortBindings": {"80/tcp": [{"HostPort": "8000"}]},
                },
            }
            container = await docker.containers.run(config, name="web")
            pids.append((await container.show())["State"]["Pid"])
    return pids


async def test_down_leaves_nothing_of_a_healthy_lab() -> None:
    async with Lab(hosts=2, name=_name()) as lab:
        pids = await _run_containers(lab)
        assert len(traces_of(lab.layout, pids)) > 10
    assert traces_of(lab.layout, pids) == []


async def test_down_leaves_nothing_after_the_engines_were_killed() -> None:
    """Containers whose engine and shim are gone have no parent left that anyone could ask."""
    lab = Lab(hosts=2, name=_name())
    await lab.up()
    pids = await _run_containers(lab)
    daemons = _daemons(lab.layout)
    assert len(daemons) == 6
    for pid in daemons:
        os.kill(pid, signal.SIGKILL)
    await lab.down()
    assert traces_of(lab.layout, pids) == []


async def test_down_needs_no_record() -> None:
    lab = Lab(hosts=1, name=_name())
    await lab.up()
    pids = await _run_containers(lab)
    lab.layout.record.unlink()
    await lab.down()
    assert traces_of(lab.layout, pids) == []


async def test_down_twice_is_down() -> None:
    layout = LabLayout.of(_name())
    for _time in range(2):
        await Lab(hosts=0, name=layout.name).down()
        assert traces_of(layout) == []


@pytest.mark.parametrize("moment", [0.5, 0.7, 0.9, 1.1, 1.5, 2.0])
async def test_up_killed_at_any_moment_is_removed_by_down(moment: float) -> None:
    """kill -9 of `up`, from before the first namespace to after the last engine."""
    layout = LabLayout.of(_name())
    up = subprocess.Popen(
        [sys.executable, "-m", "lab", "up", "--hosts", "2", "--name", layout.name],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    await anyio.sleep(moment)
    up.kill()
    up.wait()
    await Lab(hosts=0, name=layout.name).down()
    assert traces_of(layout) == []


async def test_a_failing_up_cleans_up_behind_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a registry that cannot start, the hosts that did start are removed again."""
    broken = tmp_path / "docker-registry"
    broken.write_text("#!/bin/sh\necho no registry today >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    lab = Lab(hosts=1, name=_name())
    with pytest.raises(ExceptionGroup) as failure:
        await lab.up()
    assert "no registry today" in str(failure.value.exceptions)
    assert traces_of(lab.layout) == []


async def test_labs_of_killed_owners_are_found_and_removed() -> None:
    layout = LabLayout.of(_name())
    script = (
        "import asyncio, os, signal\n"
        "from lab import Lab\n"
        "async def main():\n"
        f"    async with Lab(hosts=1, name={layout.name!r}):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert traces_of(layout) != []
    assert await remove_orphans() == [layout.name]
    assert traces_of(layout) == []
