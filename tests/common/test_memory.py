"""Memory after something large was taken in."""

from __future__ import annotations

import gc
import weakref

from drover.common.memory import settle


class Node:
    """Refers to itself, so that only the collector can free it."""

    def __init__(self) -> None:
        self.me = self


def test_garbage_goes_and_what_stays_is_not_looked_through_again() -> None:
    kept = Node()
    frozen_before = gc.get_freeze_count()
    try:
        settle()
        assert gc.get_freeze_count() > frozen_before
        left = weakref.ref(kept)
        del kept
        gc.collect()
        assert left() is not None, "the collector does not look at what is frozen"
        settle()
        assert left() is None, "the next tidying up does"
    finally:
        gc.unfreeze()
