"""Layers around a recurrent net: dense, embedding, dropout, batch and layer normalisation.

A layer is made once, with its weights, and then applied to variables: ``layer(x)``. Arrays are
time-major, ``(time, batch, features)``, or have other leading axes. A result has the dtype of the
weights. All layers validate their input: an x with the wrong number of features is a `ValueError`
(while the graph is built where x's static shape is known, else at the call), one that is not of a
float dtype a `TypeError`.

Dropout and batch normalisation differ between training and inference, so they are called with
``training=True`` or ``False``: build one graph for each, which share the weights. `symrnn.function`
finds the generators and the running statistics of the training graph and updates them:

>>> import pytensor.tensor as pt
>>> from symrnn.compiling.function import function
>>> rng = np.random.default_rng(1)
>>> dense, norm, dropout = Dense(3, 2, rng=rng), BatchNorm(2), Dropout(0.5, rng=rng)
>>> x = pt.tensor3("x")
>>> step = function([x], dropout(norm(dense(x), training=True), training=True))
>>> predict = function([x], dropout(norm(dense(x), training=False), training=False))
"""

from typing import Any

import numpy as np
import pytensor.tensor as pt
from numpy.random import Generator
from numpy.typing import ArrayLike
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_fraction, check_positive, check_rng, check_sizes, check_whole
from symrnn.compiling.function import with_updates
from symrnn.nn.initializers import Initializer, Random, uniform, xavier_uniform
from symrnn.nn.inputs import checked_mask, float_variable
from symrnn.nn.module import Module, parameter, statistic
from symrnn.nn.random import draw_mask


class Dense(Module):
    """A linear map of the features, the same for all steps and samples: ``y = x W + b``.

    Parameters
    ----------
    n_in, n_out
        Number of features of x, shape ``(..., n_in)``, and of y, shape ``(..., n_out)``.
    rng
        Source of random numbers for W; not needed where W is given as an array.
    W
        Initializer or array of shape ``(n_in, n_out)``.
    bias
        False omits b. It starts at 0.
    squeeze
        True, for ``n_out = 1``, drops the last axis of y: one number for each step and sample.

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> x = pt.ones((5, 4, 3))
    >>> Dense(3, 2, rng=np.random.default_rng(1))(x).eval(mode="FAST_COMPILE").shape
    (5, 4, 2)
    >>> Dense(3, 1, W=[[1], [2], [3]], squeeze=True)(x).eval(mode="FAST_COMPILE").shape
    (5, 4)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        rng: Random | None = None,
        W: Initializer | ArrayLike = xavier_uniform,
        bias: bool = True,
        squeeze: bool = False,
    ) -> None:
        check_sizes(n_in=n_in, n_out=n_out)
        if squeeze and n_out != 1:
            raise ValueError(f"n_out is {n_out}, but squeeze=True drops an axis of length 1")
        self.n_in, self.n_out, self.squeeze = n_in, n_out, squeeze
        self.W = parameter("W", (n_in, n_out), W, rng=rng)
        self.b = parameter("b", (n_out,), np.zeros(n_out)) if bias else None

    def __call__(self, x: Any) -> TensorVariable:
        """Return y; for all steps and samples at once, as one product of two matrices."""
        x = _checked_input(x, self.n_in, self.W)
        rows = x if x.ndim < 3 else x.reshape((-1, x.shape[-1]))
        y = rows @ self.W if self.b is None else rows @ self.W + self.b
        y = y if x.ndim < 3 else y.reshape((*tuple(x.shape)[:-1], self.W.shape[1]))
        return y[..., 0] if self.squeeze else y


class Embedding(Module):
    """A learned vector for each token: row ``W[token]``.

    Equal to a `Dense` without bias on one-hot vectors, without computing the product.

    Parameters
    ----------
    n_tokens
        Size of the vocabulary; token ids are the integers from 0 to ``n_tokens - 1``, an array of
        shape ``(time, batch)`` or any other. Padding must be a token too.
    n_features
        Embedding size; the result has shape ``(time, batch, n_features)``.
    rng
        Source of random numbers for W; not needed where W is given as an array.
    W
        Initializer or array of shape ``(n_tokens, n_features)``.

    Raises
    ------
    ValueError
        When the compiled function is called: if a token id is below 0 or not below `n_tokens`.

    Examples
    --------
    >>> embedding = Embedding(4, 2, W=[[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> embedding(np.array([3, 1])).eval(mode="FAST_COMPILE")
    array([[1., 1.],
           [0., 1.]])
    """

    def __init__(
        self,
        n_tokens: int,
        n_features: int,
        *,
        rng: Random | None = None,
        W: Initializer | ArrayLike = uniform,
    ) -> None:
        check_sizes(n_tokens=n_tokens, n_features=n_features)
        self.n_tokens, self.n_features = n_tokens, n_features
        self.W = parameter("W", (n_tokens, n_features), W, rng=rng)

    def __call__(self, tokens: Any) -> TensorVariable:
        """Return the vectors of the tokens, one more axis than the ids have."""
        tokens = pt.as_tensor_variable(tokens)
        if "int" not in tokens.dtype:
            raise TypeError(
                f"the tokens have dtype {tokens.dtype}, but must be token ids, whole numbers: "
                "tokens.astype('int64')"
            )
        tokens = CheckAndRaise(
            ValueError,
            "a token id is below 0, or not below n_tokens, the size of the vocabulary: "
            "replace unknown tokens by one that stands for them, and padding by any token",
        )(tokens, pt.ge(tokens, 0).all(), pt.lt(tokens, self.W.shape[0]).all())
        # known only where all is: mode JAX needs it, and numba would compile each size anew
        width = self.W.shape[1] if None in tokens.type.shape else self.n_features
        return self.W[tokens.flatten()].reshape((*tuple(tokens.shape), width))


class Dropout:
    """Features dropped at random in training (Srivastava et al., 2014).

    ``y = m * x / (1 - rate)`` with ``m ~ Bernoulli(1 - rate)``, so that the mean of y is x. At
    inference y is x itself.

    Parameters
    ----------
    rate
        Fraction of features dropped, within [0, 1).
    rng
        Source of the masks m, new ones for each call of the layer and of the compiled function.
    shared_over_time
        True draws one mask ``(batch, features)`` and uses it at all steps of an x of shape
        ``(time, batch, features)`` (variational dropout: Gal and Ghahramani, 2016; between the
        states of a cell there is `symrnn.VariationalDropout`).

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> from symrnn.compiling.function import function
    >>> dropout = Dropout(0.5, rng=np.random.default_rng(1))
    >>> draw = function([], dropout(pt.ones((1000,)), training=True))
    >>> first, second = draw(), draw()
    >>> np.unique(first).tolist(), bool(0.9 < first.mean() < 1.1), bool((first == second).all())
    ([0.0, 2.0], True, False)
    """

    def __init__(self, rate: float, *, rng: Generator, shared_over_time: bool = False) -> None:
        check_fraction("rate", rate)
        check_rng(rng)
        self.rate, self.rng, self.shared_over_time = rate, rng, shared_over_time

    def __call__(self, x: Any, *, training: bool) -> TensorVariable:
        """Return y, of the shape and dtype of x."""
        _check_training(training)
        x = float_variable(x)
        if self.shared_over_time and x.ndim != 3:
            raise ValueError(
                f"x has {x.ndim} axes, but a mask shared over time needs (time, batch, features): "
                "write shared_over_time=False for arrays without time"
            )
        if not training or self.rate == 0:
            return x
        m = draw_mask(self.rng, 1 - self.rate, tuple(x.shape)[1 if self.shared_over_time else 0 :])
        return pt.switch(m, x / np.asarray(1 - self.rate, dtype=x.dtype), 0)


class _Norm(Module):
    """What both normalisations share: ``y = gain * (x - mean) / sqrt(variance + epsilon) + b``."""

    def __init__(self, n_features: int, epsilon: float) -> None:
        check_positive("epsilon", epsilon)
        self.n_features, self.epsilon = n_features, epsilon
        self.gain = parameter("gain", (n_features,), np.ones(n_features))
        self.b = parameter("b", (n_features,), np.zeros(n_features))

    def _normalised(self, x: TensorVariable, mean: Any, variance: Any) -> TensorVariable:
        # as a bare number epsilon could make float64 of float32
        epsilon = np.asarray(self.epsilon, dtype=x.dtype)
        return self.gain * (x - mean) / pt.sqrt(variance + epsilon) + self.b


class LayerNorm(_Norm):
    """Normalisation over the features, separate for each step and sample (Ba et al., 2016).

    ``y = gain * (x - mean(x)) / sqrt(var(x) + epsilon) + b``, with mean and variance over the last
    axis. It is the same in training and at inference. The gain starts at 1, b at 0.

    Parameters
    ----------
    n_features
        Size of x's last axis, at least 2: one feature less its mean is always 0.
    epsilon
        Keeps the division finite; positive.

    Examples
    --------
    >>> norm = LayerNorm(4)
    >>> norm(np.array([1.0, 1.0, 3.0, 3.0])).eval(mode="FAST_COMPILE").round(3)
    array([-1., -1.,  1.,  1.])
    """

    def __init__(self, n_features: int, *, epsilon: float = 1e-5) -> None:
        check_whole("n_features", n_features, least=2)
        super().__init__(n_features, epsilon)

    def __call__(self, x: Any) -> TensorVariable:
        """Return y, of the shape of x, ``(..., n_features)``."""
        x = _checked_input(x, self.n_features, self.gain)
        mean = x.mean(axis=-1, keepdims=True)
        return self._normalised(x, mean, ((x - mean) ** 2).mean(axis=-1, keepdims=True))


class BatchNorm(_Norm):
    """Normalisation of each feature over all steps and samples (Ioffe and Szegedy, 2015).

    ``y = gain * (x - mean) / sqrt(variance + epsilon) + b``

    In training mean and variance are those of the batch's n rows, over all axes but the last, and
    each call of the compiled function moves the running statistics towards them::

        running_mean     <-  (1 - momentum) running_mean     + momentum mean
        running_variance <-  (1 - momentum) running_variance + momentum variance n / (n - 1)

    At inference they are the running ones, and the result of a row does not depend on the others.

    `symrnn.function` updates the running statistics at each call of a training graph; with plain
    `pytensor.function` give it ``updates=symrnn.graph_updates(loss) | ...``, or they stay at 0
    and 1. Apply the layer to whole sequences: within the step of a scan its statistics would not
    be found.

    Parameters
    ----------
    n_features
        Size of x's last axis.
    momentum
        Weight of the new batch, within (0, 1], as in torch.
    epsilon
        Keeps the division finite; positive.

    Attributes
    ----------
    running_mean, running_variance
        They start at 0 and 1, are saved with the weights, and are not trained.

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> from symrnn.compiling.function import function
    >>> norm, x = BatchNorm(1, momentum=0.5), pt.matrix("x")
    >>> step = function([x], norm(x, training=True))
    >>> step([[1.0], [3.0]]).round(3).tolist()
    [[-1.0], [1.0]]
    >>> norm.running_mean.get_value().item(), norm.running_variance.get_value().item()
    (1.0, 1.5)
    """

    def __init__(self, n_features: int, *, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        check_sizes(n_features=n_features)
        if not 0 < momentum <= 1:
            raise ValueError(
                f"momentum is {momentum}, but must be in (0, 1]: the weight of the new batch"
            )
        super().__init__(n_features, epsilon)
        self.momentum = momentum
        self.running_mean = statistic("running_mean", (n_features,), np.zeros(n_features))
        self.running_variance = statistic("running_variance", (n_features,), np.ones(n_features))

    def __call__(self, x: Any, *, training: bool, mask: Any = None) -> TensorVariable:
        """Return y, of the shape of x.

        Parameters
        ----------
        x
            Shape ``(time, batch, n_features)``, or with one or more other leading axes.
        training
            True for the graph that is trained, False at inference.
        mask
            Which rows are valid, shape ``(time, batch)`` (x's leading axes): 1 (or True) for a row,
            0 for padding, which does not count, whatever it holds, and whose y is 0.
        """
        _check_training(training)
        x = _checked_input(x, self.n_features, self.gain, min_axes=2)
        valid = None if mask is None else checked_mask(mask, x)
        x = _where(valid, x)
        if training:
            mean, variance = self._of_batch(x, valid)
        else:
            mean, variance = self.running_mean, self.running_variance
        return _where(valid, self._normalised(x, mean, variance))

    def _of_batch(self, x: TensorVariable, valid: TensorVariable | None) -> list[TensorVariable]:
        """Mean and variance of the valid rows; the mean carries the statistics' next values."""
        sizes = x.type.shape[:-1]
        if None not in sizes and np.prod(sizes) < 2:
            raise ValueError(
                f"x has shape {x.type.shape}, but batch normalisation in training needs at least "
                "two rows: use a larger batch, or LayerNorm"
            )
        n = pt.prod(pt.stack(tuple(x.shape)[:-1])) if valid is None else valid.sum()
        n = CheckAndRaise(
            ValueError,
            "batch normalisation in training needs at least two rows that are not padding: use "
            "a larger batch, drop a last batch of one row, or use LayerNorm",
        )(n, pt.ge(n, 2)).astype(x.dtype)
        axes, momentum = tuple(range(x.ndim - 1)), np.asarray(self.momentum, dtype=x.dtype)
        mean = x.sum(axis=axes) / n
        squares = (_where(valid, x - mean) ** 2).sum(axis=axes)
        moved = {
            running: (1 - momentum) * running + momentum * new
            for running, new in (
                (self.running_mean, mean),
                (self.running_variance, squares / (n - 1)),
            )
        }
        return [with_updates(mean, moved), squares / n]


def _where(valid: TensorVariable | None, values: TensorVariable) -> TensorVariable:
    """Zeros in place of padding."""
    return values if valid is None else pt.switch(valid, values, 0)


def _check_training(training: Any) -> None:
    if not isinstance(training, bool | np.bool_):
        raise TypeError(
            f"training is {training!r}, but must be True or False: training and inference are two "
            "graphs, compiled into two functions"
        )


def _checked_input(
    x: Any, n_features: int, weight: SharedVariable, min_axes: int = 1
) -> TensorVariable:
    """Return x in the dtype of `weight`, whose first axis is as long as x's last must be."""
    x = float_variable(x)
    if x.ndim < min_axes:
        raise ValueError(
            f"x has {x.ndim} axes, but must have at least {min_axes}, the features last: "
            "for example (time, batch, features)"
        )
    if x.type.shape[-1] not in (None, n_features):
        raise ValueError(
            f"x has shape {x.type.shape}, but the layer is made for {n_features} features, the "
            f"last axis: make the layer with {x.type.shape[-1]}, or put the features last"
        )
    return CheckAndRaise(
        ValueError,
        "the last axis of x does not have as many features as the layer is made for: make the "
        "layer with the number that x has, or put the features last",
    )(x.astype(weight.dtype), pt.eq(x.shape[-1], weight.shape[0]))
