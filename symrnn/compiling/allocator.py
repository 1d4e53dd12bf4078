"""The allocator of the C library: whether it keeps freed arrays or returns them to the system."""

import ctypes
import sys

# parameters of mallopt, from glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Have the allocator keep freed memory for the next arrays.

    A training step allocates and frees the same large arrays again and again. On Linux the
    allocator (glibc's malloc) may return their memory to the system each time, and get it again
    page by page, filled with zeros, which for some shapes takes a third of the time of a step.
    After this call it keeps up to 2 GB. That holds for the whole process and cannot be undone: the
    process stays as large as it has once been. So it is done only where a function is compiled for
    mode NUMBA, which allocates all arrays anew at each call; in other modes kernels keep buffers of
    their own. No result changes.

    Returns
    -------
    bool
        Whether the C library has this setting: False on macOS, on Windows, and on Linux with musl.

    Examples
    --------
    >>> kept = keep_freed_memory()
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**28}
    return all(mallopt(parameter, value) for parameter, value in settings.items())
