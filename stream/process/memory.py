"""Freed memory stays with the worker for the most part, instead of going to the kernel and coming back.

glibc gives the end of its heap back when 128 KB of it are free, and more later by a rule of its own. A worker's batches
and RocksDB's write buffers come and go all day: the resident memory rose and fell with them, each return cost page
faults, and a leak of some megabytes couldn't be seen. Where there is no glibc (macOS, musl) nothing changes.
"""

from __future__ import annotations

import ctypes

# From glibc's malloc.h; man 3 mallopt. Setting one of them ends glibc's own moving of both.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: Bytes at the end of a heap from which on they are given back. malloc has a heap for each thread that is busy.
TRIM_BYTES = 64 << 20
#: Bytes from which on a block comes straight from the kernel and goes there: the greatest value that glibc takes. A
#: write buffer of RocksDB is smaller.
MMAP_BYTES = 32 << 20


def keep_freed_memory() -> bool:
    """Tell the allocator; call it once, early. Returns whether it understood."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES))
