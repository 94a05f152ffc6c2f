"""A replica follows frames: everything first, then changes; it refuses a change that does not fit."""

from __future__ import annotations

import pytest

from drover.client.world import Change, Container, Environment, Full, Host, Key, World, decode_frame, encode_frame
from drover.client.world.world import OutOfStep

HOST = Host(uuid="h1", name="one", agent_ip="192.0.2.1")
WEB = Container(uuid="c1", name="shop-web-1", state="running", primary_ip="10.42.0.9", labels={"a": "b"})
BASE = Full(epoch="e", revision=7, objects=(Environment(uuid="env"), HOST, WEB), host="h1")


def loaded() -> World:
    world = World()
    world.apply(BASE)
    return world


def test_everything_then_a_change() -> None:
    world = loaded()
    stopped = Container(uuid="c1", name="shop-web-1", state="stopped")
    delta = world.apply(Change(epoch="e", since=7, revision=8, changed=(stopped,)))
    assert dict(delta.changes) == {Key("container", "c1"): (WEB, stopped)}
    assert world.containers["c1"].state == "stopped"
    assert world.own_host == HOST


def test_what_is_gone_is_reported_with_what_it_was() -> None:
    world = loaded()
    delta = world.apply(Change(epoch="e", since=7, revision=8, gone=(Key("container", "c1"),)))
    assert list(delta.of("container")) == [(WEB, None)]
    assert world.containers == {}


def test_everything_again_reports_only_what_differs() -> None:
    world = loaded()
    same = world.apply(Full(epoch="another", revision=1, objects=BASE.objects, host="h1"))
    assert not same
    less = world.apply(Full(epoch="another", revision=2, objects=(Environment(uuid="env"), HOST)))
    assert dict(less.changes) == {Key("container", "c1"): (WEB, None)}
    assert world.host == "h1"


@pytest.mark.parametrize("change", [Change(epoch="e", since=6, revision=8), Change(epoch="other", since=7, revision=8)])
def test_a_change_of_something_else_is_refused(change: Change) -> None:
    world = loaded()
    with pytest.raises(OutOfStep, match="does not follow e/7"):
        world.apply(change)
    assert world.revision == 7


def test_frames_survive_the_wire() -> None:
    change = Change(epoch="e", since=7, revision=8, changed=(WEB,), gone=(Key("host", "h1"),))
    for frame in (BASE, change):
        assert decode_frame(encode_frame(frame)) == frame


def test_an_empty_world_is_not_loaded() -> None:
    assert not World().loaded
    assert loaded().loaded
