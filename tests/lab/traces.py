"""What a lab can leave behind, looked up without the lab's own code."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

from lab.layout import LabLayout


def traces_of(layout: LabLayout, container_pids: Iterable[int] = ()) -> list[str]:
    """One line for each thing of the lab that exists on the machine; the image cache does not count."""
    name, found = layout.name, []
    found += [f"namespace {line}" for line in _lines("ip", "netns") if line.startswith(f"drover-{name}-")]
    found += [f"link {line}" for line in _lines("ip", "-brief", "link") if line.startswith(f"drl-{name}")]
    found += [f"rule {line}" for line in _lines("iptables-save") if f"drl-{name}" in line or "10.213." in line]
    roots = [str(layout.run), str(layout.data)]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if any(f"{root}/" in line for root in roots)]
    found += [f"process {line}" for line in _command_lines() if any(f"{root}/" in line for root in roots)]
    found += [f"process {pid} of a container" for pid in container_pids if is_running(pid)]
    found += [f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob(f"**/drover-lab/{name}")]
    found += [f"directory {root}" for root in roots if Path(root).exists()]
    return found


def is_running(pid: int) -> bool:
    """Whether the process runs; a zombie, which waits for whoever became its parent, does not."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _lines(*argv: str) -> list[str]:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()


def _command_lines() -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            found.append(f"{entry.name} {(entry / 'cmdline').read_bytes().replace(bytes(1), b' ').decode()}")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
