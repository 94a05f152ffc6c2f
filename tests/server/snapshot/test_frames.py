"""The ring of frames: what a follower at some place is told, and when it must begin anew."""

from __future__ import annotations

import zlib

import pytest

from drover.client.world import Change, Full, Key, Stack, World, decode_frame
from drover.server.snapshot.frames import Frames


def stacks(*names: str) -> tuple[Stack, ...]:
    return tuple(Stack(uuid=name, name=name) for name in names)


def test_changes_lead_from_any_place_in_the_ring_to_the_present() -> None:
    frames = Frames("e", 10)
    frames.add(11, stacks("a"), ())
    frames.add(15, stacks("b"), (Key("stack", "a"),))
    world = World(epoch="e", revision=10)
    for text in frames.since(10):
        world.apply(decode_frame(text))
    assert (world.revision, list(world.stacks)) == (15, ["b"])
    assert [frames.knows(each) for each in (9, 10, 11, 12, 15, 16)] == [False, True, True, False, True, False]
    assert frames.since(15) == []


def test_large_changes_are_compressed_once_for_who_takes_them_so() -> None:
    frames = Frames("e", 0)
    frames.add(1, stacks("small"), ())
    frames.add(2, stacks(*(f"stack-{number}" for number in range(500))), ())
    small, large = frames.since(0, deflate=True)
    assert isinstance(small, str)
    assert isinstance(large, bytes)
    assert zlib.decompress(large, -15).decode() == frames.since(0)[1]
    assert frames.since(1, deflate=True)[0] is large


def test_the_ring_is_bounded_by_number_and_by_size() -> None:
    few = Frames("e", 0, most_frames=3)
    small = Frames("e", 0, most_bytes=2000)
    for number in range(1, 50):
        few.add(number, stacks(f"stack-{number}"), ())
        small.add(number, stacks(f"stack-{number}"), ())
    assert (few.oldest, len(few.since(few.oldest))) == (46, 3)
    assert sum(map(len, small.since(small.oldest))) <= 2000
    assert not few.knows(45)


def test_a_frame_larger_than_the_ring_is_still_told() -> None:
    frames = Frames("e", 0, most_bytes=10)
    frames.add(1, stacks("a" * 100), ())
    assert len(frames.since(0)) == 1


@pytest.mark.anyio
async def test_the_whole_names_the_host_of_the_follower() -> None:
    whole = Frames("e", 3).whole(lambda: stacks("a"))
    for host in ("h-1", 'odd"host', None):
        decoded = decode_frame(whole.text(host))
        assert isinstance(decoded, Full)
        assert (whole.revision, decoded.revision, decoded.host, len(decoded.objects)) == (3, 3, host, 1)
        assert zlib.decompress(await whole.deflated(host), -15).decode() == whole.text(host)


def test_a_whole_is_encoded_once_while_the_ring_leads_on_from_it() -> None:
    frames = Frames("e", 3, most_frames=2)
    first = frames.whole(lambda: stacks("a"))
    frames.add(4, stacks("b"), ())
    again = frames.whole(lambda: stacks("a", "b"))
    assert again is first
    world = World()
    for each in (again.text("h"), *frames.since(again.revision)):
        world.apply(decode_frame(each))
    assert (again.revision, sorted(world.stacks), world.host) == (3, ["a", "b"], "h")
    frames.add(5, (), ())
    frames.add(6, (), ())
    assert frames.whole(lambda: stacks("a", "b")).revision == 6


def test_a_forgotten_whole_is_made_anew() -> None:
    frames = Frames("e", 3)
    first = frames.whole(lambda: stacks("a"))
    frames.forget_whole()
    assert frames.whole(lambda: stacks("a")) is not first


def test_the_greeting_changes_nothing_but_the_host() -> None:
    greeting = decode_frame(Frames("e", 3).greeting(3, "h"))
    assert greeting == Change("e", 3, 3, host="h")
