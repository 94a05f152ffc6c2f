"""A managed container's resolv.conf and hosts file. The files are Docker's, bind-mounted: edited in place."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from drover.host.network.names import LABEL_DNS_PRIORITY, LABEL_STACK_SERVICE
from drover.host.network.namespaces import open_in_container

RESOLV_CONF = "/etc/resolv.conf"
HOSTS = "/etc/hosts"
DOMAIN = "rancher.internal"
_STACK_SERVICE = re.compile(r"(?P<stack>[a-z0-9_.-]+)/(?P<service>[a-z0-9_.-]+)(/[a-z0-9_./-]+)?")
"""Nothing but names: a label of the user's becomes a line of a file."""

MAX_FILE = 1024 * 1024


def search_domains(labels: Mapping[str, str], host_config_search: Sequence[str]) -> list[str]:
    """What belongs in front of the existing search list (Rancher 1.6): service, stack, own entries, domain."""
    if labels.get(LABEL_DNS_PRIORITY, "").lower() == "none":
        return []
    domains: list[str] = []
    # A sidekick's own name comes as `stack/primary/sidekick`; its namespace is that of the primary.
    named = _STACK_SERVICE.fullmatch(labels.get(LABEL_STACK_SERVICE, "").lower())
    if named:
        domains += [f"{named['service']}.{named['stack']}.{DOMAIN}", f"{named['stack']}.{DOMAIN}"]
    domains += [each for each in host_config_search if each not in domains and each != DOMAIN]
    return [*domains, DOMAIN]


def rewrite_resolv_conf(text: str, *, server: str, search: Sequence[str], search_last: bool) -> str:
    """Leaves `server` as the only name server and merges `search`. Doing it twice changes nothing."""
    existing: list[str] = []
    lines: list[str] = []
    named = False
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["nameserver"] and words[1:2] != [server]:
            lines.append(f"# {line.strip()}")
        elif words[:1] == ["nameserver"]:
            if not named:
                lines.append(line)
            named = True
        elif words[:1] in (["search"], ["domain"]):
            existing += [word for word in words[1:] if word not in existing]
        else:
            lines.append(line)
    first, second = (existing, search) if search_last else (search, existing)
    domains = [*first, *(each for each in second if each not in first)]
    if domains:
        lines.insert(0, "search " + " ".join(domains))
    if not named:
        lines.append(f"nameserver {server}")
    return "\n".join(lines) + "\n"


def hosts_with(text: str, *, address: str, hostname: str) -> str:
    """The hosts file with the container's own line; one line only, whatever was appended before."""
    if any(line.split()[:2] == [address, hostname] for line in text.splitlines()):
        return text
    return f"{text.rstrip(chr(10))}\n{address}\t{hostname}\n"


def edit_resolv_conf(
    file: ContainerFile, *, server: str, labels: Mapping[str, str], host_config_search: Sequence[str]
) -> None:
    """Raises OSError when the container has no such file (any more)."""
    last = labels.get(LABEL_DNS_PRIORITY, "") == "service_last"
    search = search_domains(labels, host_config_search)
    text = file.read()
    file.write(text, rewrite_resolv_conf(text, server=server, search=search, search_last=last))


def edit_hosts(file: ContainerFile, *, address: str, hostname: str) -> None:
    """Raises OSError when the container has no such file (any more)."""
    if hostname:
        text = file.read()
        file.write(text, hosts_with(text, address=address, hostname=hostname))


@dataclass(frozen=True, slots=True)
class ContainerFile:
    """A file that the engine (process `engine()`) keeps at `source` and mounts at `path` for the container's `pid`."""

    pid: int
    path: str
    source: str
    engine: Callable[[], int]

    def read(self) -> str:
        with os.fdopen(open_in_container(self.pid, self.path, os.O_RDONLY), "rb") as file:
            return file.read(MAX_FILE).decode("utf-8", "surrogateescape")

    def write(self, old: str, new: str) -> None:
        if new == old:
            return
        # Never by rename: what is mounted is the file itself.
        with os.fdopen(self._open_for_writing(), "wb") as file:
            file.write(new.encode("utf-8", "surrogateescape"))

    def _open_for_writing(self) -> int:
        flags = os.O_WRONLY | os.O_TRUNC
        try:
            return open_in_container(self.pid, self.path, flags)
        except OSError as error:
            if error.errno != errno.EROFS or not self.source:
                raise
        # With a read-only root the container's mounts are read-only too; the file itself is not.
        return open_in_container(self.engine(), self.source, flags)
