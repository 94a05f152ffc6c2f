"""What makes a host a machine of its own besides its network: its hostname and its own /run and /var/lib.

Programs on a host, and containers that mount paths of their host, expect things at well-known places: the engine's
socket at /var/run/docker.sock, the agent's state in /var/lib/rancher. All of a lab's programs of one host therefore
share a mount namespace in which these two directories are the host's own; the rest of the file system is the
machine's. The namespaces are held by files below the host's run directory, so that they can be entered without any
process living in them, and last from one boot to the next power-off.
"""

import shutil
import sys
from pathlib import Path

from lab.command import in_namespace, run
from lab.layout import HostLayout, LabLayout

_OWN = (Path("/run"), Path("/var/lib"))

# $1: hostname; then triples: directory, what replaces it, and what of the machine's stays visible (":" separated).
_BOOT = """\
set -eu
hostname "$1"
mount --make-rshared /
shift
while [ $# -gt 0 ]; do
    old=$IFS; IFS=:
    for kept in $3; do
        [ -d "$kept" ] || continue
        mkdir -p "$2/${kept#"$1"/}"
        mount --rbind "$kept" "$2/${kept#"$1"/}"
    done
    IFS=$old
    mount --rbind "$2" "$1"
    shift 3
done
"""


async def boot(layout: LabLayout, host: HostLayout) -> None:
    """Make the host's mount and UTS namespaces; the network namespace exists."""
    host.namespaces.mkdir(parents=True, exist_ok=True)
    await run("mount", "--bind", str(host.namespaces), str(host.namespaces))
    # The files of namespaces can only be bound where mounts do not spread to other namespaces.
    await run("mount", "--make-private", str(host.namespaces))
    for file in (host.mount_namespace, host.uts_namespace):
        file.touch()
    shutil.rmtree(host.root_run, ignore_errors=True)  # empty after each boot, as on any machine
    host.root_run.mkdir(parents=True)
    host.root_var_lib.mkdir(parents=True, exist_ok=True)
    arguments: list[str] = []
    for directory, own in zip(_OWN, (host.root_run, host.root_var_lib), strict=True):
        kept = [str(path) for path in _kept(layout) if path.is_relative_to(directory)]
        arguments += [str(directory), str(own), ":".join(kept)]
    namespaces = (f"--mount={host.mount_namespace}", f"--uts={host.uts_namespace}", "--propagation=private")
    await run(
        *in_namespace(host.namespace, "unshare", *namespaces, "--", "sh", "-c", _BOOT, "boot", host.name, *arguments)
    )


def on_host(host: HostLayout, *argv: str) -> tuple[str, ...]:
    """The command line that runs `argv` on the host: in its network, under its name, with its own directories."""
    return (
        "nsenter",
        f"--net=/run/netns/{host.namespace}",
        f"--mount={host.mount_namespace}",
        f"--uts={host.uts_namespace}",
        "--",
        *argv,
    )


def _kept(layout: LabLayout) -> list[Path]:
    """What programs on a host need from the machine, wherever it lies: the lab's own files and this checkout."""
    checkout = Path(__file__).resolve().parents[1]
    places = {layout.run, layout.data, layout.cache, checkout, Path(sys.prefix), Path(sys.base_prefix)}
    return sorted(place for place in places if not any(place.is_relative_to(other) for other in places - {place}))
