"""When checks are due."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from drover.host.health.schedule import Schedule

pytestmark = pytest.mark.anyio


async def until(reached: object) -> None:
    assert callable(reached)
    async with asyncio.timeout(60):
        while not reached():
            await asyncio.sleep(0.002)


async def test_every_check_gets_its_turn_again_and_again() -> None:
    seen: Counter[str] = Counter()

    async def work(key: str) -> None:
        seen[key] += 1

    schedule = Schedule(work)
    for number in range(50):
        schedule.add(f"k{number}", 0.02)
    await until(lambda: len(seen) == 50 and min(seen.values()) >= 3)
    await schedule.close()

    assert max(seen.values()) <= min(seen.values()) + 2


async def test_first_checks_are_spread_over_the_interval() -> None:
    async def work(key: str) -> None:
        raise AssertionError("not due yet")

    drawn = random.Random(1)
    spans: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        spans.append((low, high))
        return drawn.uniform(1.0, 2.0)

    schedule = Schedule(work, draw=draw)
    schedule.add("k", 2.0)
    await schedule.close()

    assert spans == [(0.0, 2.0)]


async def test_no_more_than_the_limit_at_once() -> None:
    most = 0
    done: Counter[str] = Counter()

    async def work(key: str) -> None:
        nonlocal most
        most = max(most, schedule.under_way)
        await asyncio.sleep(0.005)
        done[key] += 1

    schedule = Schedule(work, limit=3, draw=lambda low, high: 0.0)
    for number in range(12):
        schedule.add(f"k{number}", 0.02)
    await until(lambda: len(done) == 12 and min(done.values()) >= 2)
    await schedule.close()

    assert most == 3


async def test_a_long_answer_leaves_turns_out_and_never_overlaps() -> None:
    under_way = 0
    rounds = 0

    async def work(key: str) -> None:
        nonlocal under_way, rounds
        under_way += 1
        assert under_way == 1
        await asyncio.sleep(0.03)
        under_way -= 1
        rounds += 1

    schedule = Schedule(work, draw=lambda low, high: 0.0)
    schedule.add("k", 0.01)
    await until(lambda: rounds >= 3)
    await schedule.close()

    assert schedule.late >= 3


async def test_a_removed_check_is_not_due_any_more() -> None:
    seen: Counter[str] = Counter()

    async def work(key: str) -> None:
        seen[key] += 1

    schedule = Schedule(work, draw=lambda low, high: 0.0)
    schedule.add("gone", 0.01)
    schedule.remove("gone")
    schedule.add("kept", 0.01)
    await until(lambda: seen["kept"] >= 3)
    await schedule.close()

    assert seen["gone"] == 0
