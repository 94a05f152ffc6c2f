"""Removing a lab, whatever state it is in.

Nothing here trusts the record: processes, mounts, namespaces, cgroups and files are found by the names that follow
from the lab's name, so this works after a crash at any moment of `up`, and a second time without effect.
"""

import asyncio
import contextlib
import re
import shutil
import time
from pathlib import Path

from lab import network, processes, record
from lab.command import run
from lab.errors import LabError
from lab.layout import CGROUP_ROOT, LabLayout

_ROUNDS = 20
_LABS_WITH_LOGS = 10


async def remove_lab(layout: LabLayout) -> None:
    """Bring the machine back to where it was before `up`; only the image cache stays."""
    await _end_processes(layout)
    _keep_logs(layout)
    await _unmount_below(layout.run, layout.data)
    await network.remove(layout)
    await _remove_cgroups(layout)
    for directory in (layout.run, layout.data):
        # Files can vanish while the tree is walked (a dying engine removes its own); a second pass gets the rest.
        with contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(shutil.rmtree, directory)
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        if directory.exists():
            raise LabError(f"{directory} could not be removed; see `findmnt` for mounts below it and run `down` again")
        _remove_if_empty(directory.parent)


async def end_host_processes(layout: LabLayout, host: str) -> None:
    """Switch one host off: no process on it is left, containers included."""
    where = layout.host(host)
    for _round in range(_ROUNDS):
        pids = processes.in_namespaces([where.namespace]) | processes.in_cgroup(where.cgroup)
        if not pids:
            break
        _thaw(where.cgroup)
        await processes.end(pids)
    else:
        raise LabError(f"processes of {host} could not be killed: {sorted(pids)}")
    await _unmount_below(where.run, where.data)


async def _end_processes(layout: LabLayout) -> None:
    """Kill until nothing is found: a process seen in one round may have started another one meanwhile."""
    for _round in range(_ROUNDS):
        pids = await asyncio.to_thread(_find_processes, layout)
        if not pids:
            return
        _thaw(layout.cgroup)
        await processes.end(pids)
    raise LabError(f"processes of lab {layout.name} could not be killed: {sorted(pids)}")


def _thaw(cgroup: str) -> None:
    """An engine that is killed while it kills a container leaves it frozen, and what is frozen cannot die."""
    for hierarchy in _cgroup_hierarchies():
        for name, thawed in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            for state in (hierarchy / cgroup).rglob(name):
                with contextlib.suppress(OSError):  # gone since, or the top of a hierarchy, which is never frozen
                    state.write_text(thawed)


def _find_processes(layout: LabLayout) -> set[int]:
    known = record.read(layout.record)
    recorded = {process.pid for process in known.processes if process.alive()} if known else set()
    return (
        processes.with_tag(layout.tag)
        | processes.in_namespaces(network.namespaces(layout))
        | processes.in_cgroup(layout.cgroup)
        | recorded
    )


def _keep_logs(layout: LabLayout) -> None:
    """Copy the programs' logs into the cache: whoever asks why a test failed comes after the lab is gone."""
    logs = [*layout.run.glob("*.log"), *layout.run.glob("*/*.log")]
    if not logs:
        return
    kept = layout.kept_logs
    shutil.rmtree(kept, ignore_errors=True)
    for log in logs:
        target = kept / log.relative_to(layout.run)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log, target)
    by_age = sorted(kept.parent.iterdir(), key=lambda directory: directory.stat().st_mtime)
    for old in by_age[:-_LABS_WITH_LOGS]:
        shutil.rmtree(old, ignore_errors=True)


async def _unmount_below(*directories: Path) -> None:
    """Detach every mount below the directories, the youngest first."""
    for mount in reversed(_mount_points()):
        if any(mount.is_relative_to(directory) for directory in directories):
            with contextlib.suppress(LabError):
                await run("umount", "--lazy", "--no-mtab", str(mount))


def _mount_points() -> list[Path]:
    return [
        Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split()[4]))
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]


async def _remove_cgroups(layout: LabLayout, timeout: float = 5.0) -> None:
    deadline = time.monotonic() + timeout
    while True:
        left = [
            directory
            for hierarchy in _cgroup_hierarchies()
            if (directory := hierarchy / layout.cgroup).is_dir() and not _remove_cgroup(directory)
        ]
        if not left:
            break
        if time.monotonic() > deadline:
            raise LabError(f"cgroups could not be removed: {', '.join(map(str, left))}")
        # The kernel takes a moment to let go of processes that were just killed.
        await asyncio.sleep(0.05)
    for hierarchy in _cgroup_hierarchies():
        _remove_if_empty(hierarchy / CGROUP_ROOT)


def _cgroup_hierarchies() -> list[Path]:
    """Where cgroups are mounted: one hierarchy on a modern machine, a dozen on an older one."""
    lines = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [Path(fields[1]) for fields in lines if fields[2] in {"cgroup", "cgroup2"}]


def _remove_cgroup(directory: Path) -> bool:
    for child in directory.iterdir():
        if child.is_dir() and not _remove_cgroup(child):
            return False
    return _remove_if_empty(directory)


def _remove_if_empty(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
