"""The last known world on disk."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from drover.client.world import Change, World, encode_frame
from drover.host.metadata.answers_file import AnswersFile, load_answers
from tests.host.metadata.shop import OBJECTS, full, shop_world

pytestmark = pytest.mark.anyio


async def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "new" / "answers.json"
    world = World()
    file = AnswersFile(path, world)
    await file.save()
    assert not path.exists(), "there is nothing worth saving"
    world.apply(full())
    await file.save()
    found = load_answers(path)
    assert found is not None
    again = World()
    again.apply(found)
    assert again == world
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["answers.json"]


async def test_only_a_change_is_written(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    world = shop_world()
    file = AnswersFile(path, world)
    await file.save()
    assert not path.exists(), "this is what was loaded"
    world.apply(full(*OBJECTS[:5], revision=2))
    await file.save()
    written = path.stat().st_mtime_ns
    await file.save()
    assert path.stat().st_mtime_ns == written


async def test_it_is_saved_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    world = World()
    file = AnswersFile(path, world)
    task = asyncio.create_task(file.run(interval=0.005))
    try:
        for revision in (1, 2):
            world.apply(full(*OBJECTS[: revision + 3], revision=revision))
            file.touch()
            async with asyncio.timeout(60):
                while (found := load_answers(path)) is None or found.revision != revision:
                    await asyncio.sleep(0.005)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        encode_frame(full())[:-20],
        b"[]",
        b'{"frame":"full"}',
        encode_frame(Change(epoch="e", since=1, revision=2)),
    ],
)
def test_a_damaged_file_is_ignored_and_said(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "answers.json"
    path.write_bytes(damaged)
    with capture_logs() as logs:
        assert load_answers(path) is None
    assert [each["event"] for each in logs] == ["answers.ignored"]


def test_no_file_is_no_trouble(tmp_path: Path) -> None:
    with capture_logs() as logs:
        assert load_answers(tmp_path / "none") is None
    assert logs == []


async def test_a_disk_that_cannot_be_written_is_said_and_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.write_text("no folder")
    world = World()
    file = AnswersFile(folder / "answers.json", world)
    world.apply(full())
    with capture_logs() as logs:
        await file.save()
    assert [each["event"] for each in logs] == ["answers.not_saved"]
    folder.unlink()
    await file.save()
    assert load_answers(folder / "answers.json") is not None
