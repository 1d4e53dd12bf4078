"""Memory of freed arrays: whether the process keeps it or gives it back to the system."""

import ctypes
import sys

# parameters of mallopt, from glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Keep the memory of freed arrays for the next ones; call it once, before training.

    A training step makes and frees the same large arrays again and again. The C library of Linux
    (glibc) may give their memory back to the system each time and get it again, page by page and
    filled with zeros, which for some shapes takes a third of the time of a step. Afterwards it
    keeps up to 2 GB. This holds for the whole process and cannot be undone, so `symrnn` leaves it
    to you: the process stays as large as it has once been, and no result changes.

    Returns
    -------
    bool
        Whether the C library has such a setting: False on macOS, Windows and musl's Linux.

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
