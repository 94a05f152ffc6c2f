from __future__ import annotations

from drover.server.api.auth.limiter import LoginLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_failure_after_the_third_doubles_the_wait() -> None:
    clock = Clock()
    limiter = LoginLimiter(clock)
    waits = []
    for _ in range(14):
        clock.now += limiter.wait_seconds("admin", "192.0.2.1")
        limiter.failed("admin", "192.0.2.1")
        waits.append(limiter.wait_seconds("admin", "192.0.2.1"))
    assert waits[:7] == [0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0]
    assert waits[-1] == 300.0


def test_spelling_does_not_help_but_another_address_is_another_client() -> None:
    clock = Clock()
    limiter = LoginLimiter(clock)
    for name in ("admin", "ADMIN", "Admin"):
        limiter.failed(name, "192.0.2.1")
    assert limiter.wait_seconds("aDmin", "192.0.2.1") > 0
    assert limiter.wait_seconds("admin", "192.0.2.2") == 0


def test_an_address_that_tries_many_names_waits_as_well() -> None:
    clock = Clock()
    limiter = LoginLimiter(clock)
    for number in range(29):
        limiter.failed(f"user{number}", "192.0.2.1")
    assert limiter.wait_seconds("admin", "192.0.2.1") == 0
    limiter.failed("user29", "192.0.2.1")
    assert limiter.wait_seconds("admin", "192.0.2.1") > 0
    assert limiter.wait_seconds("admin", "192.0.2.2") == 0


def test_success_and_time_forgive() -> None:
    clock = Clock()
    limiter = LoginLimiter(clock)
    for _ in range(5):
        limiter.failed("admin", "a")
        limiter.failed("root", "a")
    limiter.succeeded("admin", "a")
    assert limiter.wait_seconds("admin", "a") == 0
    clock.now += 4000
    limiter.failed("root", "a")
    assert limiter.wait_seconds("root", "a") == 0


def test_memory_is_bounded() -> None:
    limiter = LoginLimiter(Clock())
    for number in range(10_500):
        limiter.failed(f"user{number}", "a")
    assert len(limiter._failures) == 10_000
