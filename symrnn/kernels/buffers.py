"""Arrays for the results of kernels, in memory that is kept from call to call.

A training step makes the same large arrays again and again. If their memory went back to the
system each time, it would come back page by page, filled with zeros, which for some shapes takes a
third of the time of a step. So a few buffers are kept, and a new array is a view of one that no
array uses.
"""

import sys
from collections.abc import Sequence
from math import prod
from threading import Lock

import numpy as np

SMALL = 2**15
"""Bytes: smaller arrays are left to NumPy."""
ALIGNMENT = 64
_MOST_UNUSED = 200  # requests, after which a buffer that nobody uses is given back
_LOCK = Lock()


class _Buffer:
    def __init__(self, n_bytes: int) -> None:
        memory = np.empty(n_bytes + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        self.memory, self.start, self.size = memory, start, n_bytes
        self.last_used = 0


_BUFFERS: list[_Buffer] = []
_REQUESTS = 0
_SOME = _Buffer(0)
_UNUSED = sys.getrefcount(_SOME.memory)  # of memory without a view


def empty(shape: Sequence[int], dtype: np.dtype | str) -> np.ndarray:
    """Return an array whose numbers are not set, at an address that suits the processor."""
    global _REQUESTS
    dtype = np.dtype(dtype)
    n_bytes = prod(shape) * dtype.itemsize
    if n_bytes < SMALL:
        return np.empty(shape, dtype)
    with _LOCK:
        _REQUESTS += 1
        best = None
        for buffer in _BUFFERS:
            fits = n_bytes <= buffer.size <= 2 * n_bytes
            is_smaller = best is None or buffer.size < best.size
            if fits and is_smaller and sys.getrefcount(buffer.memory) == _UNUSED:
                best = buffer
        if best is None:
            _BUFFERS[:] = [b for b in _BUFFERS if _is_worth_keeping(b)]
            best = _Buffer(n_bytes)
            _BUFFERS.append(best)
        best.last_used = _REQUESTS
        view = best.memory[best.start : best.start + n_bytes]
    return view.view(dtype).reshape(shape)


def _is_worth_keeping(buffer: _Buffer) -> bool:
    in_use = sys.getrefcount(buffer.memory) != _UNUSED
    return in_use or _REQUESTS - buffer.last_used < _MOST_UNUSED
