"""What the service says at this moment: the world, its version, its trees, and the memory of recent changes.

A change is applied as a whole before anything is answered, so no client ever sees half of it.
"""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Callable

import msgspec

from drover.client.world import Delta, Object, World
from drover.host.metadata.fields import Version
from drover.host.metadata.relations import Relations
from drover.host.metadata.tree import Tree

UNUSED_SECONDS = 600.0
"""A tree nobody asked for so long is dropped; the next request makes it again."""
_MODULUS = 1 << 128
_ENCODER = msgspec.json.Encoder(order="sorted")

Listener = Callable[[Delta], None]


class Publication:
    """`apply` takes a change of the world in; listeners hear of it afterwards, in the order they were added."""

    def __init__(self, world: World, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.world = world
        self.listeners: list[Listener] = []
        self._relations = Relations(world)
        self._clock = clock
        self._trees: dict[Version, Tree] = {}
        self._used: dict[Version, float] = {}
        self._sum = sum(map(_digest, world.objects())) % _MODULUS
        self.version = "0"
        if world.loaded:
            self._renumber()

    def apply(self, delta: Delta) -> None:
        if not delta:
            return
        self._relations.apply(delta)
        for before, after in delta.changes.values():
            self._sum += (_digest(after) if after is not None else 0) - (_digest(before) if before is not None else 0)
        self._sum %= _MODULUS
        self._renumber()
        self._drop_unused()
        for tree in self._trees.values():
            tree.apply(delta)
        for listener in self.listeners:
            listener(delta)

    def tree(self, version: Version) -> Tree:
        """The tree of one version, made when it is asked for first."""
        self._used[version] = self._clock()
        tree = self._trees.get(version)
        if tree is None:
            tree = self._trees[version] = Tree(self.world, self._relations, version)
            gc.freeze()  # or each full collection would look through the tree, while answers wait
        return tree

    def _renumber(self) -> None:
        """The version is a digest of the contents: the same contents have the same version, also after a restart.

        It is the sum of the objects' digests, so a change costs two of them however large the world is.
        """
        own = int.from_bytes(hashlib.blake2b((self.world.host or "").encode(), digest_size=16).digest(), "big")
        self.version = f"{(self._sum + own) % _MODULUS:032x}"

    def _drop_unused(self) -> None:
        now = self._clock()
        for version in [each for each in self._trees if now - self._used[each] > UNUSED_SECONDS]:
            del self._trees[version]


def _digest(each: Object) -> int:
    return int.from_bytes(hashlib.blake2b(_ENCODER.encode(each), digest_size=16).digest(), "big")
