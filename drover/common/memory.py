"""What a program that runs for ever does with its memory after it has taken in something large.

Reading an environment takes several times what is kept of it. The C library keeps the rest for later, in pieces
between what stays, and the collector looks through all that stays again and again for nothing.
"""

from __future__ import annotations

import ctypes
import gc


def settle() -> None:
    """Give the system back what is free, and keep the collector away from what is there.

    Takes some tens of milliseconds for a large environment: call it after rare and large changes alone.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
    if trim is not None:
        trim(0)
