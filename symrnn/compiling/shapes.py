"""Sizes that are known when a graph is built, which scans and mode JAX need.

A variable's axis may have a static size, a number in ``v.type.shape``, or one that is known only
when the compiled function is called, ``v.shape[axis]``.
"""

from typing import Any

import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable


def axis_length(v: TensorVariable, axis: int) -> Any:
    """Return the length of an axis: a number where it is static, which mode JAX needs.

    Examples
    --------
    >>> x = pt.tensor("x", shape=(None, 3))
    >>> axis_length(x, 1), axis_length(x, 0).type.dtype
    (3, 'int64')
    """
    static = v.type.shape[axis]
    return v.shape[axis] if static is None else static


def keep_broadcastable(old: TensorVariable, new: TensorVariable) -> TensorVariable:
    """Return `new`, an array of the same shape as `old`, with the axes of size 1 that `old` has.

    A scan wants a state's type to be the same before and after a step. But where `old` has an axis
    of static size 1, PyTensor often cannot tell that `new` has it too. If it turns out not to have
    it, that is an error when the compiled function is called.

    Examples
    --------
    >>> old, new = pt.tensor("old", shape=(1, None)), pt.matrix("new")
    >>> keep_broadcastable(old, new).type.shape
    (1, None)
    """
    ones = [axis for axis, length in enumerate(old.type.shape) if length == 1]
    return pt.specify_broadcastable(new, *ones) if ones else new
