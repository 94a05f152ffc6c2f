import asyncio

import pytest

from drover.common.together import together

pytestmark = pytest.mark.anyio


async def value(number: int) -> int:
    await asyncio.sleep(0)
    return number


async def test_results_come_in_order() -> None:
    assert await together(value(number) for number in range(3)) == [0, 1, 2]
    assert await together([]) == []


async def test_the_first_failure_is_raised_by_itself_and_ends_the_rest() -> None:
    cancelled = asyncio.Event()

    async def wait_for_ever() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return 0

    async def fail() -> int:
        await asyncio.sleep(0)
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        await together([wait_for_ever(), fail()])
    assert cancelled.is_set()
