import pytest

from drover.common.backoff import Backoff


def upper(_low: float, high: float) -> float:
    return high


def test_delays_grow_to_the_maximum() -> None:
    backoff = Backoff(initial=1, maximum=5, draw=upper)
    assert [backoff.next_delay() for _ in range(5)] == [1, 2, 4, 5, 5]
    assert backoff.failures == 5


def test_reset_starts_again() -> None:
    backoff = Backoff(initial=1, maximum=5, draw=upper)
    backoff.next_delay()
    backoff.next_delay()
    backoff.reset()
    assert backoff.next_delay() == 1


def test_jitter_stays_between_floor_and_ceiling() -> None:
    backoff = Backoff(initial=1, maximum=1, floor=0.2)
    delays = [backoff.next_delay() for _ in range(200)]
    assert all(0.2 <= delay <= 1 for delay in delays)
    assert len(set(delays)) > 100


@pytest.mark.parametrize("bad", [{"initial": 0}, {"initial": 9, "maximum": 1}, {"factor": 0.5}])
def test_nonsense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Backoff(**bad)
