"""Publish, subscribe, ask.

A question stays open until it is answered or its time is up: a subscriber that (re)connects meanwhile gets it again
with the same id, so an agent that lost its connection for a moment costs a repetition and not a failure.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

import structlog

from drover.server.bus.event import Event

log = structlog.get_logger(__name__)

Progress = Callable[[Event], None]


class NoAnswer(Exception):
    """Nobody answered in time."""


class Refused(Exception):
    """The answer was an error; the text is meant for the user."""


class NotAsked(Exception):
    """A reply to a question that is not open, or that was put to somebody else."""


class Subscription:
    """A bounded queue of events. It closes itself when the subscriber falls too far behind."""

    def __init__(self, names: frozenset[str], capacity: int, on_close: Callable[[Subscription], None]) -> None:
        self.names = names
        self.overflowed = False
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._ready = asyncio.Event()
        self._on_close = on_close
        self._closed = False

    def offer(self, event: Event) -> None:
        if self._closed:
            return
        if len(self._events) >= self._capacity:
            log.warning("subscription.overflow", capacity=self._capacity, event_name=event.name)
            self.overflowed = True
            self.close()
            return
        self._events.append(event)
        self._ready.set()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._on_close(self)
            self._ready.set()

    async def get_batch(self) -> list[Event]:
        """Everything that waits, at least one event; an empty list once the subscription is closed."""
        while not self._events:
            if self._closed:
                return []
            self._ready.clear()
            await self._ready.wait()
        batch = list(self._events)
        self._events.clear()
        return batch

    async def __aiter__(self) -> AsyncIterator[Event]:
        while batch := await self.get_batch():
            for event in batch:
                yield event


@dataclass(slots=True)
class _Question:
    event: Event
    asked: str | None
    answer: asyncio.Future[Event]
    on_progress: Progress | None
    progressed: asyncio.Event = field(default_factory=asyncio.Event)


class Bus:
    """The bus of one process."""

    def __init__(self) -> None:
        self._topics: dict[str, set[Subscription]] = defaultdict(set)
        self._questions: dict[str, _Question] = {}
        self._open_by_topic: dict[str, dict[str, _Question]] = defaultdict(dict)
        self._reply_numbers = itertools.count(1)

    def subscribe(self, names: Iterable[str], *, capacity: int = 1000) -> Subscription:
        """Hear the named topics. Open questions of those topics are delivered at once."""
        subscription = Subscription(frozenset(names), capacity, self._forget)
        for name in subscription.names:
            self._topics[name].add(subscription)
            for question in list(self._open_by_topic.get(name, {}).values()):
                subscription.offer(question.event)
        return subscription

    def has_subscriber(self, name: str) -> bool:
        return bool(self._topics.get(name))

    def publish(self, event: Event) -> int:
        """Deliver to everybody who listens now; returns to how many."""
        receivers = self._topics.get(event.name)
        if not receivers:
            return 0
        for subscription in tuple(receivers):
            subscription.offer(event)
        return len(receivers)

    async def request(
        self, event: Event, *, timeout: float, asked: str | None = None, on_progress: Progress | None = None
    ) -> Event:
        """Put a question and wait for its answer. Progress restarts the clock.

        ``timeout`` in seconds; ``asked`` names who may answer (None: anybody who may publish replies). Raises NoAnswer
        or Refused.
        """
        reply_to = f"reply.{next(self._reply_numbers)}"
        event.reply_to = reply_to
        event.timeout_millis = int(timeout * 1000)
        question = _Question(event, asked, asyncio.get_running_loop().create_future(), on_progress)
        self._questions[reply_to] = question
        self._open_by_topic[event.name][reply_to] = question
        try:
            self.publish(event)
            answer = await self._await_answer(question, timeout)
        finally:
            del self._questions[reply_to]
            open_questions = self._open_by_topic[event.name]
            del open_questions[reply_to]
            if not open_questions:
                del self._open_by_topic[event.name]
        if answer.failure is not None:
            raise Refused(answer.failure)
        return answer

    @staticmethod
    async def _await_answer(question: _Question, timeout: float) -> Event:
        while True:
            try:
                return await asyncio.wait_for(asyncio.shield(question.answer), timeout)
            except TimeoutError:
                if not question.progressed.is_set():
                    raise NoAnswer(f"no answer to {question.event.name} within {timeout:g} s") from None
                question.progressed.clear()

    def reply(self, event: Event, *, sender: str | None = None) -> None:
        """Answer a question. ``sender`` must be the one that was asked. Raises NotAsked."""
        question = self._questions.get(event.name)
        if question is None or (event.previous_ids and event.previous_ids[0] != question.event.id):
            raise NotAsked(f"{event.name} is not open: answered already, timed out, or never asked")
        if question.asked is not None and sender != question.asked:
            raise NotAsked(f"{event.name} was not put to you")
        if event.is_progress:
            question.progressed.set()
            if question.on_progress is not None:
                question.on_progress(event)
        elif not question.answer.done():
            question.answer.set_result(event)

    def _forget(self, subscription: Subscription) -> None:
        for name in subscription.names:
            receivers = self._topics.get(name)
            if receivers is not None:
                receivers.discard(subscription)
                if not receivers:
                    del self._topics[name]
