"""The record of a running lab."""

import os
from pathlib import Path

from lab import processes, record
from lab.processes import ProcessRecord
from lab.record import HostRecord, LabRecord


def _record() -> LabRecord:
    return LabRecord(
        name="one",
        gateway="10.213.0.1",
        prefix_length=24,
        registry="10.213.0.1:5000",
        server_url="http://10.213.0.1:8080",
        hosts=[HostRecord("host1", "10.213.0.11")],
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lab.json"
    record.write(_record(), path)
    assert record.read(path) == _record()
    assert [entry.name for entry in path.parent.iterdir()] == ["lab.json"]


def test_no_file_is_no_record(tmp_path: Path) -> None:
    assert record.read(tmp_path / "lab.json") is None
    assert record.read_owner(tmp_path / "owner.json") is None


def test_a_restarted_process_replaces_the_old_one() -> None:
    known = _record()
    started = processes.start_time(os.getpid())
    assert started is not None
    known.remember(ProcessRecord("server", os.getpid(), started - 5))
    assert known.find("server") is None
    alive = ProcessRecord("server", os.getpid(), started)
    known.remember(alive)
    assert known.find("server") == alive
    assert known.processes == [alive]


def test_the_owner_is_the_process_that_wrote_it(tmp_path: Path) -> None:
    record.write_owner(tmp_path / "owner.json")
    owner = record.read_owner(tmp_path / "owner.json")
    assert owner is not None
    assert (owner.pid, owner.alive()) == (os.getpid(), True)
