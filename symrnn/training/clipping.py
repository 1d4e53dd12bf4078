"""Clipping and weight decay: what is done to gradients before an optimizer gets them."""

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
    """Clip every element of the gradients to ``[-limit, limit]``.

    ``g <- min(max(g, -limit), limit)``

    The direction of the gradient may change; `clip_by_global_norm` keeps it.

    Parameters
    ----------
    gradients
        A list of gradients of any shapes, as `pytensor.grad` returns it.
    limit
        Positive.

    Returns
    -------
    list of TensorVariable
        The clipped gradients, to be given to an optimizer in place of the loss.

    Examples
    --------
    >>> (clipped,) = clip_by_value([pt.constant([5.0, 0.1, -7.0])], 0.35)
    >>> clipped.eval(mode="FAST_COMPILE").tolist()
    [0.35, 0.1, -0.35]
    """
    check_positive("limit", limit)
    return [pt.clip(g, in_dtype_of(g, -limit), in_dtype_of(g, limit)) for g in gradients]


def clip_by_global_norm(gradients: Sequence[Any], max_norm: Any) -> list[TensorVariable]:
    """Scale all gradients together so that their norm is at most `max_norm` (Pascanu et al., 2013).

    ``g <- g max_norm / max(norm, max_norm)``

    with the `global_norm` over all of them, so that the direction of the step stays the same. If an
    element is infinite or NaN, all results are NaN: `symrnn.train` then raises an error.

    Parameters
    ----------
    gradients
        A list of gradients of any shapes, as `pytensor.grad` returns it.
    max_norm
        A positive number, or a scalar variable, such as an input of the compiled function.

    Returns
    -------
    list of TensorVariable
        The clipped gradients, to be given to an optimizer in place of the loss.

    Examples
    --------
    >>> (clipped,) = clip_by_global_norm([pt.constant([3.0, -4.0])], 1.0)
    >>> clipped.eval(mode="FAST_COMPILE").round(3).tolist()
    [0.6, -0.8]
    """
    if isinstance(max_norm, Variable):
        if max_norm.ndim:
            raise ValueError(f"max_norm has {max_norm.ndim} axes, but must be a scalar")
        positive = CheckAndRaise(ValueError, "max_norm must be a positive number, not infinite")
        max_norm = positive(max_norm, pt.gt(max_norm, 0) & pt.lt(max_norm, np.inf))
    else:
        check_positive("max_norm", max_norm)
    largest, relative_norm = _norm(gradients)
    scale = max_norm / pt.maximum(relative_norm, max_norm / largest) / largest  # 1 within max_norm
    return [g * in_dtype_of(g, scale) for g in gradients]


def global_norm(gradients: Sequence[Any]) -> TensorVariable:
    """Euclidean norm of all gradients together, ``sqrt(sum of all g^2)``.

    Parameters
    ----------
    gradients
        A list of gradients of any shapes, as `pytensor.grad` returns it.

    Returns
    -------
    TensorVariable
        A scalar.

    Examples
    --------
    >>> gradients = [pt.constant([3.0, 0.0]), pt.constant(-4.0)]
    >>> float(global_norm(gradients).eval(mode="FAST_COMPILE"))
    5.0
    """
    largest, relative_norm = _norm(gradients)
    return largest * relative_norm


def _norm(gradients: Sequence[Any]) -> tuple[TensorVariable, TensorVariable]:
    """The largest absolute element, and the norm in units of it: squares alone may overflow.

    If all elements are 0, the first is 1 and the second 0.
    """
    gradients = [pt.as_tensor_variable(g) for g in gradients]
    largest = functools.reduce(pt.maximum, [abs(g).max() for g in gradients])
    largest = pt.switch(pt.eq(largest, 0), pt.ones_like(largest), largest)
    return largest, pt.sqrt(sum(((g / in_dtype_of(g, largest)) ** 2).sum() for g in gradients))


def weight_decay(
    gradients: Sequence[Any], params: Sequence[Any], strength: float
) -> list[TensorVariable]:
    """Add the gradient of an L2 penalty, ``strength / 2`` times the sum of squared weights.

    ``g <- g + strength p``

    Biases usually do not decay: give only the weights that should, and join the lists. For decay
    that does not pass through the optimizer's running averages see `symrnn.adamw`.

    Parameters
    ----------
    gradients
        A list of gradients, one for each of `params`.
    params
        A list of shared float variables.
    strength
        At least 0.

    Returns
    -------
    list of TensorVariable
        The gradients of loss and penalty, to be given to an optimizer in place of the loss.

    Examples
    --------
    >>> import pytensor
    >>> w = pytensor.shared(np.array(5.0), name="w")
    >>> (decayed,) = weight_decay([pytensor.grad(3 * w, w)], [w], 0.1)
    >>> float(decayed.eval(mode="FAST_COMPILE"))
    3.5
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
