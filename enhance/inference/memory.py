"""How this process deals with memory."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
LARGEST = 32 << 20  # bytes; glibc takes no higher threshold for blocks that are mapped one by one
KEPT = 512 << 20  # bytes


def keep_freed_memory() -> None:
    """Keep what a chunk of audio has freed for the next one; once for a process that works through many chunks.

    The C library of Linux would give it back to the system each time and get it again page by page, filled with
    zeros, which takes time (``benchmarks/footprint.py`` shows how much). Does nothing elsewhere.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(M_MMAP_THRESHOLD, LARGEST)
        mallopt(M_TRIM_THRESHOLD, KEPT)
