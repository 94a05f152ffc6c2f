"""Where a lab keeps its things and how they are called.

Every name follows from the lab's name alone. `down` can therefore find what `up` made even if `up` was killed
before it wrote a word, and two labs of different names live side by side on one machine.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

ENVIRONMENT_TAG = "DROVER_LAB"
"""Variable in the environment of every process that a lab starts; its value is the lab's run directory."""

CGROUP_ROOT = "drover-lab"
_NAME = re.compile(r"[a-z][a-z0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class HostLayout:
    """Names and paths of one host."""

    name: str
    namespace: str
    cgroup: str
    run: Path
    data: Path

    @property
    def docker_socket(self) -> Path:
        """Where programs on the host find it as /var/run/docker.sock."""
        return self.root_run / "docker.sock"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def containerd_state(self) -> Path:
        return self.run / "containerd"

    @property
    def namespaces(self) -> Path:
        """Holds the files that keep the host's mount and UTS namespaces alive."""
        return self.run / "namespaces"

    @property
    def mount_namespace(self) -> Path:
        return self.namespaces / "mnt"

    @property
    def uts_namespace(self) -> Path:
        return self.namespaces / "uts"

    @property
    def root_run(self) -> Path:
        """What programs on the host see as /run (and /var/run)."""
        return self.data / "root" / "run"

    @property
    def root_var_lib(self) -> Path:
        """What programs on the host see as /var/lib."""
        return self.data / "root" / "var-lib"

    @property
    def agent_state(self) -> Path:
        return self.root_var_lib / "rancher" / "state"


@dataclass(frozen=True, slots=True)
class LabLayout:
    """Names and paths of one lab.

    `run` holds sockets, logs and the record; `data` the engines' data roots, the server's database and the agents'
    state; `cache` what later labs reuse (built images and the registry's blobs) and is the only part `down` keeps.
    """

    name: str
    run: Path
    data: Path
    cache: Path

    @classmethod
    def of(cls, name: str) -> "LabLayout":
        """The layout of the lab `name`; `$DROVER_LAB_DIR` moves all three directories below itself."""
        if not _NAME.fullmatch(name):
            raise LabError(f"lab name {name!r}: use a letter and at most 9 more lower-case letters or digits")
        if override := os.environ.get("DROVER_LAB_DIR"):
            base = Path(override).resolve()
            return cls(name, run=base / "run" / name, data=base / "data" / name, cache=base / "cache")
        return cls(
            name,
            run=Path("/run/drover-lab") / name,
            data=Path("/var/lib/drover-lab") / name,
            cache=Path("/var/cache/drover-lab"),
        )

    @property
    def record(self) -> Path:
        return self.run / "lab.json"

    @property
    def owner(self) -> Path:
        return self.run / "owner.json"

    @property
    def kept_logs(self) -> Path:
        """The logs of the last lab of this name, after its end."""
        return self.cache / "logs" / self.name

    @property
    def switch_namespace(self) -> str:
        return f"drover-{self.name}-switch"

    @property
    def namespace_prefix(self) -> str:
        return f"drover-{self.name}-"

    @property
    def root_interface(self) -> str:
        """The end of the cable that plugs the machine itself into the lab's switch (15 characters at most)."""
        return f"drl-{self.name}"

    @property
    def cgroup(self) -> str:
        return f"{CGROUP_ROOT}/{self.name}"

    @property
    def tag(self) -> str:
        return str(self.run)

    @property
    def server_data(self) -> Path:
        return self.data / "server"

    def host(self, name: str) -> HostLayout:
        return HostLayout(
            name=name,
            namespace=f"{self.namespace_prefix}{name}",
            cgroup=f"{self.cgroup}/{name}",
            run=self.run / name,
            data=self.data / name,
        )
