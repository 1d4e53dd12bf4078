"""Losses: how far a prediction is from its target, as one number.

Every loss takes an optional `mask` with the leading axes of the target, for example
``(time, batch)`` for a target of shape ``(time, batch, features)``. Where it is zero (or False)
nothing counts, not even NaN or infinity; a mean is over what counts. A mask of zeros only has the
mean 0.

The shapes of prediction and target must be equal, and are compared on every call: PyTensor would
otherwise stretch (broadcast) one over the other and train on a wrong number.
"""

from typing import Any

import pytensor.tensor as pt
from pytensor.gradient import disconnected_grad
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable


def sum_squared_error(prediction: Any, target: Any, mask: Any = None) -> TensorVariable:
    """Sum of squared errors, ``sum((y - t)^2)``.

    Parameters
    ----------
    prediction
        y, any shape, float.
    target
        t, the same shape.
    mask
        Shape of the target's leading axes, or None.

    Returns
    -------
    TensorVariable
        A scalar.

    Raises
    ------
    ValueError
        If the shapes do not fit: while the graph is built if the number of axes tells, else when
        the compiled function is called.
    """
    prediction, target = _same_shape(prediction, target)
    return _total((prediction - target) ** 2, mask)


def mean_squared_error(prediction: Any, target: Any, mask: Any = None) -> TensorVariable:
    """Mean of squared errors, ``mean((y - t)^2)``.

    Parameters, result and errors as in `sum_squared_error`.
    """
    prediction, target = _same_shape(prediction, target)
    return _average((prediction - target) ** 2, mask, prediction)


def binary_cross_entropy(logits: Any, target: Any, mask: Any = None) -> TensorVariable:
    """Mean of ``-t log p - (1 - t) log(1 - p)`` with ``p = sigmoid(z)``, in nats.

    Computed from the logits as ``softplus(z) - t z``, which neither overflows nor loses digits.

    Parameters
    ----------
    logits
        z, any shape, float.
    target
        t, the same shape, each between 0 and 1.
    mask
        Shape of the target's leading axes, or None.

    Returns
    -------
    TensorVariable
        A scalar.

    Raises
    ------
    ValueError
        As in `sum_squared_error`.
    """
    logits, target = _same_shape(logits, target)
    return _average(pt.softplus(logits) - target * logits, mask, logits)


def categorical_cross_entropy(logits: Any, target: Any, mask: Any = None) -> TensorVariable:
    """Mean of ``-log softmax(z)[t]``, in nats.

    Parameters
    ----------
    logits
        z, shape ``(..., classes)``, float.
    target
        t, shape ``(...)``, integers from 0 to classes - 1.
    mask
        Shape of the target's leading axes, or None.

    Returns
    -------
    TensorVariable
        A scalar.

    Raises
    ------
    ValueError
        As in `sum_squared_error`, and if a target is no class.
    TypeError
        If the target is not of an integer dtype.
    """
    logits, target = pt.as_tensor_variable(logits), pt.as_tensor_variable(target)
    if "int" not in target.dtype:
        raise TypeError(
            f"the target has dtype {target.dtype}, but it holds the number of the right class at "
            "each place: use an integer array"
        )
    if logits.ndim != target.ndim + 1:
        raise ValueError(
            f"logits have {logits.ndim} axes and the target {target.ndim}: logits must have one "
            "axis more, the classes, at the end"
        )
    n_classes = logits.shape[-1]
    target = CheckAndRaise(
        ValueError,
        "logits (..., classes) and target (...) differ in their leading axes, or a target is "
        "below 0 or not below the number of classes",
    )(
        target,
        *_sizes_equal(logits, target, target.ndim),
        pt.ge(target, 0).all(),
        pt.lt(target, n_classes).all(),
    )
    rows, t = logits.reshape((-1, n_classes)), target.flatten()
    # The largest logit is taken out first: PyTensor does so itself only in some modes.
    rows = rows - disconnected_grad(rows.max(axis=1, keepdims=True))
    error = pt.log(pt.exp(rows).sum(axis=1)) - rows[pt.arange(t.shape[0]), t]
    return _average(error.reshape(target.shape, ndim=target.ndim), mask, target)


def _same_shape(prediction: Any, target: Any) -> tuple[TensorVariable, TensorVariable]:
    """Both as variables; the prediction refuses a target of another shape."""
    prediction, target = pt.as_tensor_variable(prediction), pt.as_tensor_variable(target)
    if prediction.ndim != target.ndim:
        raise ValueError(
            f"the prediction has {prediction.ndim} axes and the target {target.ndim}: "
            "reshape one of them, for example target[..., None] for a last axis of size 1"
        )
    same = CheckAndRaise(
        ValueError,
        "prediction and target differ in shape. If there is one prediction for each time step "
        "and not for each sample, the input was given as (samples, time): pass X.T, time first",
    )
    return same(prediction, *_sizes_equal(prediction, target, target.ndim)), target


def _sizes_equal(a: TensorVariable, b: TensorVariable, n_axes: int) -> list[TensorVariable]:
    """Conditions that the first `n_axes` axes of both are equally long."""
    return [pt.eq(a.shape[axis], b.shape[axis]) for axis in range(n_axes)]


def _masked(error: TensorVariable, mask: Any) -> tuple[TensorVariable, TensorVariable]:
    """Errors with zeros where the mask is zero, and the number of places that count."""
    mask = pt.as_tensor_variable(mask)
    if mask.ndim > error.ndim:
        raise ValueError(
            f"the mask has {mask.ndim} axes and the error {error.ndim}: the mask has the leading "
            "axes of the target, for example (time, batch)"
        )
    fits = CheckAndRaise(ValueError, "the mask's shape is not that of the target's leading axes")
    keep = pt.neq(fits(mask, *_sizes_equal(mask, error, mask.ndim)), 0)
    count = keep.sum() * _product(error.shape[mask.ndim :])
    return pt.switch(pt.shape_padright(keep, error.ndim - mask.ndim), error, 0), count


def _total(error: TensorVariable, mask: Any) -> TensorVariable:
    if mask is None:
        return error.sum()
    return _masked(error, mask)[0].sum()


def _average(error: TensorVariable, mask: Any, like: TensorVariable) -> TensorVariable:
    """Mean of the errors; `like` has their shape.

    The shape of a difference would be found by PyTensor's own comparison of both shapes, which
    would then complain before ours does.
    """
    if mask is None:
        return error.sum() / _product(like.shape).astype(error.dtype)
    kept, count = _masked(error, mask)
    return kept.sum() / pt.maximum(count, 1).astype(error.dtype)


def _product(sizes: Any) -> TensorVariable:
    return pt.prod(pt.stack([pt.constant(1), *sizes]))
