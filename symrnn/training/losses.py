"""Losses: scalars that measure how far predictions are from their targets.

Every loss takes an optional `mask` with the leading axes of the target, for example
``(time, batch)`` for a target of shape ``(time, batch, features)``. Elements where it is zero (or
False) are masked: prediction and target may hold anything there, even NaN, and their gradients are
0. (But a NaN in the input of a net reaches the gradients of its weights, masked or not.) A mean is
over the elements that are not masked; if there are none, it is 0.

Shapes of prediction and target must be equal and are compared at every call: PyTensor would
otherwise broadcast one against the other, and train on a wrong loss.
"""

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import disconnected_grad
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable


def sum_squared_error(prediction: Any, target: Any, *, mask: Any = None) -> TensorVariable:
    """Sum of squared errors.

    ``L = sum((y - t)^2)``

    Parameters
    ----------
    prediction
        y, float, of any shape.
    target
        t, of the same shape; cast to the dtype of y.
    mask
        Zero where an element is masked; shape of the target's leading axes.

    Returns
    -------
    TensorVariable
        A scalar of the dtype of y.

    Examples
    --------
    >>> loss = sum_squared_error(np.array([1.0, 2.0, 3.0]), np.zeros(3), mask=[1, 1, 0])
    >>> float(loss.eval(mode="FAST_COMPILE"))
    5.0
    """
    prediction, target = _same_shape(prediction, target)
    keep, _ = _mask(mask, prediction)
    return (_where(keep, prediction - target) ** 2).sum()


def mean_squared_error(prediction: Any, target: Any, *, mask: Any = None) -> TensorVariable:
    """Mean squared error.

    ``L = mean((y - t)^2)``

    Parameters
    ----------
    prediction
        y, float, of any shape.
    target
        t, of the same shape; cast to the dtype of y.
    mask
        Zero where an element is masked; shape of the target's leading axes.

    Returns
    -------
    TensorVariable
        A scalar of the dtype of y.

    Examples
    --------
    >>> loss = mean_squared_error(np.array([1.0, 2.0, 3.0]), np.zeros(3), mask=[1, 1, 0])
    >>> float(loss.eval(mode="FAST_COMPILE"))
    2.5
    """
    prediction, target = _same_shape(prediction, target)
    keep, count = _mask(mask, prediction)
    return _mean(_where(keep, prediction - target) ** 2, count)


def binary_cross_entropy(logits: Any, target: Any, *, mask: Any = None) -> TensorVariable:
    """Mean binary cross-entropy of logits, in nats.

    ``L = mean(-t log p - (1 - t) log(1 - p))`` with ``p = sigmoid(z)``

    It is computed from the logits, as ``softplus(z) - t z``, which neither overflows nor loses
    digits.

    Parameters
    ----------
    logits
        z, float, of any shape.
    target
        t, of the same shape, from 0 to 1; cast to the dtype of z.
    mask
        Zero where an element is masked; shape of the target's leading axes.

    Returns
    -------
    TensorVariable
        A scalar of the dtype of z.

    Examples
    --------
    >>> loss = binary_cross_entropy(np.array([0.0, 2.0]), np.array([1.0, 1.0]))
    >>> round(float(loss.eval(mode="FAST_COMPILE")), 3)  # (log 2 + log(1 + exp(-2))) / 2
    0.41
    """
    logits, target = _same_shape(logits, target)
    keep, count = _mask(mask, logits)
    logits, target = _where(keep, logits), _where(keep, target)
    target = CheckAndRaise(ValueError, "a target of binary_cross_entropy is not between 0 and 1")(
        target, pt.ge(target, 0).all(), pt.le(target, 1).all()
    )
    return _mean(_where(keep, pt.softplus(logits) - target * logits), count)


def categorical_cross_entropy(
    logits: Any, target: Any, *, mask: Any = None, label_smoothing: float = 0.0
) -> TensorVariable:
    """Mean cross-entropy of logits and classes, in nats; optionally with label smoothing.

    ``L = mean(-log softmax(z)[t])``

    With label smoothing (Szegedy et al., 2016) it is ``mean(-sum_k q_k log softmax(z)_k)``, where
    ``q_k = (1 - a) [k = t] + a / K`` for K classes. This is lowest where the right class has
    probability ``1 - a + a / K``, so that the logits need not grow for ever.

    Parameters
    ----------
    logits
        z, float, shape ``(..., classes)``.
    target
        t, the right classes: integers from 0 to classes - 1, shape ``(...)``.
    mask
        Zero where an element is masked, whose target may then be any integer; shape of the
        target's leading axes.
    label_smoothing
        a, from 0 to 1. For training only: compare models by the plain loss.

    Returns
    -------
    TensorVariable
        A scalar of the dtype of z.

    Examples
    --------
    >>> logits = np.zeros((2, 4))  # all classes equally probable
    >>> loss = categorical_cross_entropy(logits, np.array([3, 0]))
    >>> round(float(loss.eval(mode="FAST_COMPILE")), 3)  # log 4
    1.386
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is {label_smoothing}, but must be between 0 and 1")
    logits, target = pt.as_tensor_variable(logits), pt.as_tensor_variable(target)
    if "int" not in target.dtype:
        raise TypeError(
            f"the target has dtype {target.dtype}, but must hold the right classes, as integers: "
            "use an integer array, for example target.argmax(-1) where it is one-hot"
        )
    if logits.ndim != target.ndim + 1:
        raise ValueError(
            f"logits have {logits.ndim} axes and the target {target.ndim}: logits must have one "
            "axis more, the classes, as the last"
        )
    same = CheckAndRaise(
        ValueError, "logits (..., classes) and target (...) differ in their leading axes"
    )
    target = same(target, *_sizes_equal(logits, target, target.ndim))
    keep, count = _mask(mask, target)
    if keep is not None:
        logits, target = _where(keep[..., None], logits), _where(keep, target)
    n_classes = logits.shape[-1]
    is_class = CheckAndRaise(
        ValueError,
        "a target is below 0, or not below the number of classes (the logits' last axis)",
    )
    target = is_class(target, pt.ge(target, 0).all(), pt.lt(target, n_classes).all())

    rows, t = logits.reshape((-1, n_classes)), target.flatten()
    # the largest logit is subtracted first: PyTensor does so only in some modes
    rows = rows - disconnected_grad(rows.max(axis=1, keepdims=True))
    of_target = rows[pt.arange(t.shape[0]), t]
    if label_smoothing:
        if not logits.dtype.startswith("float"):
            raise TypeError(f"the logits have dtype {logits.dtype}, but must be floats")
        a = np.asarray(label_smoothing, dtype=logits.dtype)
        of_target = (1 - a) * of_target + a * rows.mean(axis=1)
    error = pt.log(pt.exp(rows).sum(axis=1)) - of_target
    return _mean(_where(keep, error.reshape(target.shape, ndim=target.ndim)), count)


def gaussian_kl(
    mean: Any,
    log_variance: Any,
    prior_mean: Any = None,
    prior_log_variance: Any = None,
    *,
    mask: Any = None,
) -> TensorVariable:
    """Mean KL divergence of diagonal Gaussians from others, in nats.

    ``KL(q || p) = 1/2 sum_i (log v_i - log s_i + (s_i + (m_i - n_i)^2) / v_i - 1)``

    with ``q = N(m, diag(s))`` and ``p = N(n, diag(v))`` (Kingma and Welling, 2014, appendix B, for
    ``p = N(0, I)``). It is 0 where both are equal. The sum is over the features, the mean over the
    Gaussians.

    Parameters
    ----------
    mean, log_variance
        m and ``log s``, float, shape ``(..., features)``.
    prior_mean, prior_log_variance
        n and ``log v``, of the same shape. Default: 0, that is ``p = N(0, I)``.
    mask
        Zero where a Gaussian is masked; shape of the leading axes of m, without the features.

    Returns
    -------
    TensorVariable
        A scalar of the dtype of m.

    Examples
    --------
    >>> kl = gaussian_kl(np.array([[1.0, 0.0], [0.0, 0.0]]), np.zeros((2, 2)))
    >>> float(kl.eval(mode="FAST_COMPILE"))
    0.25
    """
    m = pt.as_tensor_variable(mean)
    others = [
        pt.zeros_like(m) if given is None else pt.as_tensor_variable(given).astype(m.dtype)
        for given in (log_variance, prior_mean, prior_log_variance)
    ]
    if not m.ndim or any(other.ndim != m.ndim for other in others):
        raise ValueError(
            f"means and log variances have {m.ndim} and {[o.ndim for o in others]} axes, but each "
            "must have the same shape, (..., features)"
        )
    same = CheckAndRaise(ValueError, "means and log variances of gaussian_kl differ in shape")
    m = same(m, *(c for other in others for c in _sizes_equal(m, other, m.ndim)))
    keep, count = _mask(mask, m[..., 0])
    if keep is not None:
        m, *others = (_where(keep[..., None], v) for v in (m, *others))
    log_s, n, log_v = others
    kl = (log_v - log_s + pt.exp(log_s - log_v) + (m - n) ** 2 * pt.exp(-log_v) - 1).sum(axis=-1)
    return _mean(_where(keep, kl) / 2, count)


def _same_shape(prediction: Any, target: Any) -> tuple[TensorVariable, TensorVariable]:
    """Both as variables of one dtype; the prediction checks that the shapes are equal."""
    if isinstance(prediction, tuple):
        raise TypeError(
            f"the prediction is a {type(prediction).__name__}: take one of its fields, for example "
            "state.h, or the outputs, the first of the two results of symrnn.unroll"
        )
    prediction, target = pt.as_tensor_variable(prediction), pt.as_tensor_variable(target)
    if prediction.ndim != target.ndim:
        raise ValueError(
            f"the prediction has {prediction.ndim} axes and the target {target.ndim}: "
            "reshape one of them, for example target[..., None] for a last axis of size 1"
        )
    same = CheckAndRaise(
        ValueError,
        "prediction and target differ in shape: each prediction needs one target. If there is a "
        "prediction for each time step and not for each sample, the input was given as "
        "(samples, time): put time first, with X.T or, if X has features, X.transpose(1, 0, 2)",
    )
    prediction = same(prediction, *_sizes_equal(prediction, target, target.ndim))
    return prediction, target.astype(prediction.dtype)


def _sizes_equal(a: TensorVariable, b: TensorVariable, n_axes: int) -> list[TensorVariable]:
    """Conditions that the first `n_axes` axes of both have equal sizes."""
    return [pt.eq(a.shape[axis], b.shape[axis]) for axis in range(n_axes)]


def _mask(mask: Any, like: TensorVariable) -> tuple[TensorVariable | None, TensorVariable]:
    """Which elements of `like` are kept (None: all), with as many axes, and how many these are.

    The count is taken from `like` and not from an error: PyTensor finds the shape of a difference
    by comparing both shapes itself, and would complain before our own check does.
    """
    if mask is None:
        return None, _product(like.shape)
    mask = pt.as_tensor_variable(mask)
    if mask.ndim > like.ndim:
        raise ValueError(
            f"the mask has {mask.ndim} axes and the target {like.ndim}: the mask has the leading "
            "axes of the target, for example (time, batch)"
        )
    fits = CheckAndRaise(ValueError, "the mask's shape is not that of the target's leading axes")
    keep = pt.neq(fits(mask, *_sizes_equal(mask, like, mask.ndim)), 0)
    count = pt.maximum(keep.sum() * _product(like.shape[mask.ndim :]), 1)
    return pt.shape_padright(keep, like.ndim - mask.ndim), count


def _where(keep: TensorVariable | None, values: TensorVariable) -> TensorVariable:
    """The values, 0 where masked; applied before a formula too, so that no NaN enters it."""
    return values if keep is None else pt.switch(keep, values, pt.zeros((), dtype=values.dtype))


def _mean(error: TensorVariable, count: TensorVariable) -> TensorVariable:
    return error.sum() / count.astype(error.dtype)


def _product(sizes: Any) -> TensorVariable:
    return pt.prod(pt.stack([pt.constant(1), *sizes]))
