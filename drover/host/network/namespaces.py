"""Working inside a container's namespaces from outside: its network by thread, its files by descriptor.

A thread, not the process, changes its network namespace; the netlink socket it opens there stays there. No process
is started for a container. Files of a container are opened relative to its root, with the kernel resolving links
as the container would see them (`openat2`, RESOLVE_IN_ROOT), so an image cannot lead us to a file of the host.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10

_libc = ctypes.CDLL(None, use_errno=True)

_threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="netns")
"""Threads of our own: one that could not come back from a namespace must never run anybody else's work."""


def network_path(pid: int) -> str:
    return f"/proc/{pid}/ns/net"


@contextmanager
def inside_network(path: str) -> Iterator[None]:
    """This thread is in the network namespace `path` for the duration. Raises OSError when it is gone."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


async def in_thread(work: Callable[[], T]) -> T:
    """Runs blocking work on a thread that may enter namespaces."""
    return await asyncio.get_running_loop().run_in_executor(_threads, work)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot enter a network namespace: {os.strerror(number)}")


def open_in_container(pid: int, path: str, flags: int) -> int:
    """A descriptor of the container's file `path` (absolute inside it). Raises OSError."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = struct.pack("QQQ", flags | os.O_CLOEXEC | os.O_NOCTTY, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
        descriptor: int = _libc.syscall(_OPENAT2, root, os.fsencode(path), how, len(how))
        if descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
        return descriptor
    finally:
        os.close(root)
