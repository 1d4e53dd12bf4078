"""Sizes that are known when a graph is built, which scans and mode JAX need.

A variable's axis may have a static size, a number in ``v.type.shape``, or one that is known only
when the compiled function is called, ``v.shape[axis]``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytensor.tensor as pt
from pytensor.graph.traversal import ancestors
from pytensor.tensor.basic import get_underlying_scalar_constant_value
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


def of_shape(make: Callable[[list[Any]], TensorVariable], shape: Sequence[Any]) -> TensorVariable:
    """Return ``make(shape)``, a new array, in a time that does not depend on the rest of the graph.

    To learn an array's static shape PyTensor copies and rewrites all of the graph that its sizes
    are computed from. For one mask of dropout on top of a deep net that takes half a second. Here
    a size is a number if its variable has a static one, and else only known when the function is
    called.

    Parameters
    ----------
    make
        Makes operations of a list of sizes.
    shape
        Integers, or symbolic scalars.

    Examples
    --------
    >>> x = pt.tensor("x", shape=(None, 3))
    >>> zeros = of_shape(pt.zeros, (x.shape[0], x.shape[1], 2))
    >>> zeros.type.shape
    (None, 3, 2)
    """
    sizes: list[Any] = []
    for size in shape:
        value = size
        if not isinstance(size, int):
            value = get_underlying_scalar_constant_value(
                size, elemwise=False, max_recur=3, raise_not_constant=False
            )
        sizes.append(value)
    stand_ins = [s.type() if isinstance(s, TensorVariable) and s.owner else s for s in sizes]
    made = make(stand_ins)
    actual = {a: b for a, b in zip(stand_ins, sizes, strict=True) if a is not b}
    for node in {v.owner for v in ancestors([made]) if v.owner is not None}:
        if not actual.keys().isdisjoint(node.inputs):
            node.inputs = [actual.get(v, v) for v in node.inputs]
    return made
