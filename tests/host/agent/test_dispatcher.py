"""Order, de-duplication and replies, without engine or server."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from aiodocker.exceptions import DockerError

from drover.client.events import Reply, Request
from drover.host.agent import dispatcher as module
from drover.host.agent.dispatcher import Dispatcher, ReplyStore
from drover.host.agent.errors import AgentError
from drover.host.agent.images import Progress

pytestmark = pytest.mark.anyio


def request(number: int | str, resource: str | None = "1x1", name: str = "work") -> Request:
    return Request(
        name=name,
        id=f"id-{number}",
        reply_to=f"reply.{number}",
        resource_type="thing" if resource else None,
        resource_id=resource,
        data=msgspec.Raw(msgspec.json.encode({"n": number})),
    )


class Desk:
    """A dispatcher with a handler that waits at a gate, and everything that it sent."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.began: list[Any] = []
        self.sent: list[Reply] = []
        self.dispatcher = Dispatcher({"work": self.work, "fail": self.fail, "silent": self.silent}, self.send)

    async def send(self, reply: Reply) -> None:
        self.sent.append(reply)

    async def work(self, data: msgspec.Raw, progress: Progress) -> dict[str, Any]:
        number = msgspec.json.decode(data)["n"]
        self.began.append(number)
        await progress("working", 10)
        await self.gate.wait()
        return {"done": number}

    async def fail(self, data: msgspec.Raw, progress: Progress) -> dict[str, Any]:
        raise {"agent": AgentError("say so"), "docker": DockerError(500, "no space"), "bug": KeyError("secret")}[
            msgspec.json.decode(data)["n"]
        ]

    async def silent(self, data: msgspec.Raw, progress: Progress) -> None:
        return None

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    @property
    def final(self) -> list[Reply]:
        return [reply for reply in self.sent if reply.transitioning != "yes"]


async def test_one_resource_in_order_others_beside_it():
    desk = Desk()
    for number in range(3):
        await desk.dispatcher.submit(request(number))
    await desk.dispatcher.submit(request(9, "1x2"))
    await desk.settle()
    assert desk.began == [0, 9]
    desk.gate.set()
    await desk.settle()
    assert desk.began == [0, 9, 1, 2]
    assert [reply.data for reply in desk.final if reply.resource_id == "1x1"] == [{"done": n} for n in range(3)]
    assert all(reply.previous_ids == [f"id-{reply.data['done']}"] for reply in desk.final)
    assert desk.dispatcher.busy == 0


async def test_requests_without_resource_run_side_by_side():
    desk = Desk()
    for number in range(50):
        await desk.dispatcher.submit(request(number, None))
    await desk.settle()
    assert len(desk.began) == 50
    desk.gate.set()
    await desk.settle()


async def test_a_repeated_request_runs_once():
    desk = Desk()
    await desk.dispatcher.submit(request(1))
    await desk.settle()
    await desk.dispatcher.submit(request(1))
    assert [(r.transitioning, r.transitioning_message) for r in desk.sent] == [("yes", "working")] * 2
    desk.gate.set()
    await desk.settle()
    await desk.dispatcher.submit(request(1))
    assert desk.began == [1]
    first, second = desk.final
    assert first.id == second.id
    assert msgspec.json.encode(first) == msgspec.json.encode(second)


async def test_long_work_shows_that_it_goes_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "KEEP_ALIVE_SECONDS", 0.0)
    desk = Desk()
    await desk.dispatcher.submit(request(1))
    await desk.settle()
    assert len(desk.sent) > 2
    assert {(reply.transitioning, reply.transitioning_message) for reply in desk.sent} == {("yes", "working")}
    desk.gate.set()
    await desk.settle()
    assert desk.sent[-1].data == {"done": 1}, "nothing comes after the final reply"


@pytest.mark.parametrize(
    ("kind", "message"),
    [("agent", "say so"), ("docker", "no space"), ("bug", "the agent failed at fail: KeyError; see its log")],
)
async def test_failures_become_one_error_reply(kind: str, message: str):
    desk = Desk()
    await desk.dispatcher.submit(request(kind, name="fail"))
    await desk.settle()
    (reply,) = desk.sent
    assert (reply.transitioning, reply.failure) == ("error", message)
    assert reply.data is msgspec.UNSET


@pytest.mark.parametrize("reply_to", [None, "work.reply"])
async def test_who_does_not_wait_gets_no_reply(reply_to: str | None):
    desk = Desk()
    desk.gate.set()
    await desk.dispatcher.submit(msgspec.structs.replace(request(1), reply_to=reply_to))
    await desk.dispatcher.submit(request(2, name="silent"))
    await desk.dispatcher.submit(request(3, name="unheard.of"))
    await desk.settle()
    assert desk.sent == []


async def test_draining_ends_what_does_not_end():
    desk = Desk()
    await desk.dispatcher.submit(request(1))
    await desk.settle()
    await desk.dispatcher.drain(0.01)
    assert desk.dispatcher.busy == 0


def test_stored_replies_are_bounded_in_age_number_and_bytes(monkeypatch: pytest.MonkeyPatch):
    now = 0.0
    store = ReplyStore(lambda: now)
    reply = Reply(name="reply.1", previous_ids=["a"], data={"x": "y" * 1000})
    store.put("a", reply)
    stored = store.get("a")
    assert stored is not None
    assert msgspec.json.encode(stored) == msgspec.json.encode(reply)
    now = module.STORED_SECONDS + 1
    assert store.get("a") is None
    monkeypatch.setattr(module, "MAX_STORED", 3)
    for key in "abcde":
        store.put(key, reply)
    assert [key for key in "abcde" if store.get(key)] == ["c", "d", "e"]
    monkeypatch.setattr(module, "MAX_STORED_BYTES", 2500)
    store.put("f", reply)
    assert [key for key in "abcdef" if store.get(key)] == ["e", "f"]
    store.put("f", reply)
    assert len(store) == 2
