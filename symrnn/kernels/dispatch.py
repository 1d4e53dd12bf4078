"""Registers operations with PyTensor's numba backend."""

from collections.abc import Callable
from typing import Any


def numba_basic() -> Any:
    """Return PyTensor's module for numba; it takes long to import, so only mode NUMBA does."""
    from pytensor.link.numba.dispatch import basic

    return basic


def compile_with_numba(op_type: type, funcify: Callable[..., tuple[Any, str]]) -> None:
    """Have numba compile the operations of a type; the second time for one type does nothing.

    Parameters
    ----------
    op_type
        A subclass of PyTensor's `Op`.
    funcify
        Given the operation, and ``node=`` where it is used, returns a function compiled by numba
        and the key under which its code is kept on disk.
    """
    basic = numba_basic()
    if op_type not in basic.numba_funcify_and_cache_key.registry:
        basic.register_funcify_and_cache_key(op_type)(funcify)
