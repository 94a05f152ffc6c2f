"""The time, in the unit that the API, the database and the wire share: milliseconds since the epoch, UTC."""

import time


def now_ms() -> int:
    return time.time_ns() // 1_000_000
