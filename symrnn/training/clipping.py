"""What is done to gradients before an optimizer sees them: clipping, weight decay."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_positive
from symrnn.nn.module import check_parameters


def clip_by_value(gradients: Sequence[Any], limit: float) -> list[TensorVariable]:
    """Gradients with every element held between `-limit` and `limit`.

    ``g <- min(max(g, -limit), limit)``

    Parameters
    ----------
    gradients
        A list of gradients of any shapes, as `pytensor.grad` gives it.
    limit
        Positive.

    Raises
    ------
    ValueError
        If `limit` is not positive.
    """
    check_positive("limit", limit)
    return [pt.clip(g, in_dtype_of(g, -limit), in_dtype_of(g, limit)) for g in gradients]


def clip_by_global_norm(gradients: Sequence[Any], max_norm: Any) -> list[TensorVariable]:
    """Gradients scaled together so that their norm is at most `max_norm` (Pascanu et al., 2013).

    ``g <- g max_norm / max(norm, max_norm)``

    Their direction stays the same; `global_norm` is the norm over all of them. Where a gradient is
    infinite or NaN it has no direction, and all results are NaN: training then stops at once.

    Parameters
    ----------
    gradients
        A list of gradients of any shapes, as `pytensor.grad` gives it.
    max_norm
        A positive number, or the graph of one, such as an input of the compiled function.

    Raises
    ------
    ValueError
        If `max_norm` is not positive; of a graph, when the function is called.
    """
    if isinstance(max_norm, Variable):
        if max_norm.ndim:
            raise ValueError(f"max_norm has {max_norm.ndim} axes, but must be one number")
        positive = CheckAndRaise(ValueError, "max_norm must be a positive number, not infinite")
        max_norm = positive(max_norm, pt.gt(max_norm, 0) & pt.lt(max_norm, np.inf))
    else:
        check_positive("max_norm", max_norm)
    size, relative_norm = _norm(gradients)
    scale = max_norm / pt.maximum(relative_norm, max_norm / size) / size  # 1 if within max_norm
    return [g * in_dtype_of(g, scale) for g in gradients]


def global_norm(gradients: Sequence[Any]) -> TensorVariable:
    """Euclidean norm of all gradients together, ``sqrt(sum of all g^2)``; a scalar."""
    size, relative_norm = _norm(gradients)
    return size * relative_norm


def _norm(gradients: Sequence[Any]) -> tuple[TensorVariable, TensorVariable]:
    """The largest absolute element, and the norm in units of it: squares alone may overflow.

    If all elements are 0, the first is 1 and the second 0.
    """
    gradients = [pt.as_tensor_variable(g) for g in gradients]
    size = functools.reduce(pt.maximum, [abs(g).max() for g in gradients])
    size = pt.switch(pt.eq(size, 0), pt.ones_like(size), size)
    return size, pt.sqrt(sum(((g / in_dtype_of(g, size)) ** 2).sum() for g in gradients))


def weight_decay(gradients: Sequence[Any], params: Sequence[Any], strength: float) -> list[Any]:
    """Gradients of the loss plus ``strength / 2`` times the sum of squared weights.

    ``g <- g + strength p``

    Give only the weights that shall decay, as a rule not the biases, and join the lists.

    Parameters
    ----------
    gradients, params
        A list of shared float variables and the list of their gradients, in the same order.
    strength
        At least 0.

    Raises
    ------
    ValueError
        If `strength` is negative or there are not as many gradients as parameters.
    """
    check_positive("strength", strength, or_zero=True)
    params = check_parameters(params)
    check_same_number(gradients, params)
    return [g + in_dtype_of(p, strength) * p for g, p in zip(gradients, params, strict=True)]


def check_same_number(gradients: Sequence[Any], params: Sequence[Any]) -> None:
    """Raise ValueError if there is not one gradient for each parameter."""
    if len(gradients) != len(params):
        raise ValueError(
            f"there are {len(gradients)} gradients for {len(params)} parameters: "
            "one for each is needed, in the same order"
        )


def in_dtype_of(like: Any, value: Any) -> TensorVariable:
    """Return a number or scalar variable in the dtype of `like`."""
    if isinstance(value, Variable):
        return value.astype(like.dtype)
    return pt.constant(np.asarray(value, dtype=like.dtype))
