"""The record of a running lab: what other commands need to find it, and what `down` checks first.

Written whole and renamed into place, so a reader never sees half of it. It is a convenience, not the truth: `down`
works without it (see `lab.teardown`).
"""

import contextlib
import os
from pathlib import Path

import msgspec

from lab.processes import ProcessRecord, start_time


class HostRecord(msgspec.Struct, frozen=True):
    name: str
    address: str


class LabRecord(msgspec.Struct):
    name: str
    gateway: str
    """The machine's own address in the lab: the server and the registry listen there."""
    prefix_length: int
    registry: str
    server_url: str
    hosts: list[HostRecord] = []
    processes: list[ProcessRecord] = []

    def find(self, role: str) -> ProcessRecord | None:
        """The newest process of that role, if it is alive."""
        for process in reversed(self.processes):
            if process.role == role:
                return process if process.alive() else None
        return None

    def remember(self, process: ProcessRecord) -> None:
        self.processes = [old for old in self.processes if old.role != process.role]
        self.processes.append(process)


def write(record: LabRecord, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
    draft.rename(path)


def read(path: Path) -> LabRecord | None:
    with contextlib.suppress(FileNotFoundError):
        return msgspec.json.decode(path.read_bytes(), type=LabRecord)
    return None


def write_owner(path: Path) -> None:
    """Note that the lab is of no use once the calling process is gone."""
    owner = ProcessRecord(role="owner", pid=os.getpid(), started=start_time(os.getpid()) or 0)
    path.write_bytes(msgspec.json.encode(owner))


def read_owner(path: Path) -> ProcessRecord | None:
    with contextlib.suppress(FileNotFoundError):
        return msgspec.json.decode(path.read_bytes(), type=ProcessRecord)
    return None
