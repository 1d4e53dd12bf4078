"""Layers around a recurrent net: dense, embedding, dropout, batch and layer normalisation.

A layer is made once, with its weights (``params``), and then applied to variables: ``layer(x)``.
Arrays are time-major, ``(time, batch, features)``; other leading axes will do. A result has the
dtype of the weights. What all layers refuse:

- `ValueError`: sizes below 1, or arrays of another shape for weights; an x of another number of
  features than the layer's (while the graph is built if x's static shape tells, else at the call);
- `TypeError`: an x that is not of a float dtype, or is a tuple, such as the state of a cell.

Dropout and batch normalisation do one thing in training and another in use, and have to be told
which: one graph for each, which share the weights. Only the training graph has random numbers and
updates, and these must be given to `pytensor.function`:

>>> import pytensor, pytensor.tensor as pt
>>> rng = np.random.default_rng(1)
>>> dense, norm, noise = Dense(3, 2, rng), BatchNorm(2), Noise(rng)
>>> dropout, x = Dropout(0.5, noise), pt.tensor3("x")
>>> y_in_training = dropout(norm(dense(x), training=True), training=True)
>>> y_in_use = dropout(norm(dense(x), training=False), training=False)
>>> updates = {**noise.updates, **norm.updates}  # and those of an optimiser
>>> step = pytensor.function([x], y_in_training, updates=updates, mode="FAST_COMPILE")
>>> predict = pytensor.function([x], y_in_use, mode="FAST_COMPILE")
"""

from typing import Any

import numpy as np
import pytensor.tensor as pt
from numpy.typing import ArrayLike
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_positive
from symrnn.nn.initializers import Initializer, Random, uniform, xavier_uniform
from symrnn.nn.inputs import checked_mask, float_variable
from symrnn.nn.module import shared_parameter
from symrnn.nn.random import Noise


class Dense:
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
        False leaves b out. It starts at 0.
    name
        Prefix of the weights' names: ``name.W``. By default they are those of the equation.

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> dense = Dense(3, 2, np.random.default_rng(1), name="output")
    >>> [(w.name, w.get_value().shape) for w in dense.params]
    [('output.W', (3, 2)), ('output.b', (2,))]
    >>> dense(pt.ones((5, 4, 3))).eval(mode="FAST_COMPILE").shape
    (5, 4, 2)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        rng: Random | None = None,
        W: Initializer | ArrayLike = xavier_uniform,
        bias: bool = True,
        name: str = "",
    ) -> None:
        self.n_in, self.n_out = n_in, n_out
        self.W = shared_parameter(_named(name, "W"), (n_in, n_out), W, rng)
        self.b = shared_parameter(_named(name, "b"), (n_out,), np.zeros(n_out)) if bias else None
        self.params = [self.W] if self.b is None else [self.W, self.b]

    def __call__(self, x: Any) -> TensorVariable:
        """Return y; for all steps and samples at once, as one product of two matrices."""
        x = _checked_input(x, self.n_in, self.W)
        rows = x if x.ndim < 3 else x.reshape((-1, x.shape[-1]))
        y = rows @ self.W if self.b is None else rows @ self.W + self.b
        return y if x.ndim < 3 else y.reshape((*tuple(x.shape)[:-1], self.W.shape[1]))


class Embedding:
    """A vector to be learnt for each token: row ``W[token]``.

    This is a `Dense` without bias on one-hot vectors, but without the product.

    Parameters
    ----------
    n_tokens
        Size of the vocabulary; tokens are the integers from 0 to ``n_tokens - 1``, an array of
        shape ``(time, batch)`` or any other. Padding must be a token too.
    n_features
        Length of a vector; the result has shape ``(time, batch, n_features)``.
    rng, W, name
        As in `Dense`; W has shape ``(n_tokens, n_features)``.

    Raises
    ------
    TypeError
        If tokens are not of an integer dtype.
    ValueError
        When the compiled function is called: if a token is below 0 or not below `n_tokens`.

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
        rng: Random | None = None,
        W: Initializer | ArrayLike = uniform,
        name: str = "",
    ) -> None:
        self.n_tokens, self.n_features = n_tokens, n_features
        self.W = shared_parameter(_named(name, "W"), (n_tokens, n_features), W, rng)
        self.params = [self.W]

    def __call__(self, tokens: Any) -> TensorVariable:
        """Return the vectors of the tokens."""
        tokens = pt.as_tensor_variable(tokens)
        if "int" not in tokens.dtype:
            raise TypeError(
                f"the tokens have dtype {tokens.dtype}, but are the numbers of rows of W: use an "
                "integer array, for example tokens.astype('int64')"
            )
        tokens = CheckAndRaise(
            ValueError,
            "a token is below 0, or not below n_tokens, the size of the vocabulary (rows of W): "
            "replace unknown tokens by one that stands for them, and padding by any token",
        )(tokens, pt.ge(tokens, 0).all(), pt.lt(tokens, self.W.shape[0]).all())
        # known only where all is: mode JAX needs it, and numba would compile each size anew
        width = self.W.shape[1] if None in tokens.type.shape else self.n_features
        return self.W[tokens.flatten()].reshape((*tuple(tokens.shape), width))


class Dropout:
    """Features left out at random in training (Srivastava et al., 2014).

    ``y = m * x / (1 - rate)`` with ``m ~ Bernoulli(1 - rate)``, so that the mean of y is x. In use
    y is x itself.

    Parameters
    ----------
    rate
        Which part of the features is left out, within [0, 1).
    noise
        Source of the masks m, new ones for each call of the layer. Compile the training graph with
        ``updates=noise.updates``, or each call of the function leaves out the same features.
    per_sequence
        True draws one mask ``(batch, features)`` and uses it at all steps of an x of shape
        ``(time, batch, features)`` (variational dropout: Gal and Ghahramani, 2016; for the way from
        state to state there is `symrnn.nn.wrappers.VariationalDropout`).

    Raises
    ------
    ValueError
        If the rate is not within [0, 1), or if x does not have three axes with `per_sequence`.
    TypeError
        If `noise` is not a `symrnn.nn.random.Noise`, or `training` neither True nor False.

    Examples
    --------
    >>> import pytensor, pytensor.tensor as pt
    >>> noise = Noise(np.random.default_rng(1))
    >>> y = Dropout(0.5, noise)(pt.ones((1000,)), training=True)
    >>> draw = pytensor.function([], y, updates=noise.updates, mode="FAST_COMPILE")
    >>> first, second = draw(), draw()
    >>> np.unique(first).tolist(), bool(0.9 < first.mean() < 1.1), bool((first == second).all())
    ([0.0, 2.0], True, False)
    """

    def __init__(self, rate: float, noise: Noise, per_sequence: bool = False) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"rate is {rate}, but must be in [0, 1): it is the part left out")
        if not isinstance(noise, Noise):
            raise TypeError(
                "dropout draws from a symrnn.nn.random.Noise, for example "
                f"Noise(numpy.random.default_rng(1)), and not from {noise!r}"
            )
        self.rate, self.noise, self.per_sequence = rate, noise, per_sequence

    def __call__(self, x: Any, *, training: bool) -> TensorVariable:
        """Return y, of the shape and dtype of x."""
        _check_training(training)
        x = float_variable(x)
        if self.per_sequence and x.ndim != 3:
            raise ValueError(
                f"x has {x.ndim} axes, but one mask per sequence needs (time, batch, features): "
                "write per_sequence=False for arrays without time"
            )
        if not training or self.rate == 0:
            return x
        m = self.noise.mask(1 - self.rate, tuple(x.shape)[1 if self.per_sequence else 0 :])
        return pt.switch(m, x / np.asarray(1 - self.rate, dtype=x.dtype), 0)


class _Norm:
    """What both normalisations share: ``y = gain * (x - mean) / sqrt(variance + epsilon) + b``."""

    def __init__(self, n_features: int, epsilon: float, name: str) -> None:
        check_positive("epsilon", epsilon)
        self.n_features, self.epsilon = n_features, epsilon
        self.gain = shared_parameter(_named(name, "gain"), (n_features,), np.ones(n_features))
        self.b = shared_parameter(_named(name, "b"), (n_features,), np.zeros(n_features))
        self.params = [self.gain, self.b]

    def _normalised(self, x: TensorVariable, mean: Any, variance: Any) -> TensorVariable:
        # as a bare number epsilon could make float64 of float32
        epsilon = np.asarray(self.epsilon, dtype=x.dtype)
        return self.gain * (x - mean) / pt.sqrt(variance + epsilon) + self.b


class LayerNorm(_Norm):
    """Normalisation over the features, of each step and sample by itself (Ba et al., 2016).

    ``y = gain * (x - mean(x)) / sqrt(var(x) + epsilon) + b``, with mean and variance over the last
    axis. It is the same in training and in use.

    Parameters
    ----------
    n_features
        Size of x's last axis, at least 2: one feature less its mean is always 0.
    epsilon
        Keeps the division finite; positive.
    name
        Prefix of the weights' names: ``name.gain`` (starts at 1) and ``name.b`` (at 0).

    Examples
    --------
    >>> norm = LayerNorm(4)
    >>> norm(np.array([1.0, 1.0, 3.0, 3.0])).eval(mode="FAST_COMPILE").round(3)
    array([-1., -1.,  1.,  1.])
    """

    def __init__(self, n_features: int, epsilon: float = 1e-5, name: str = "") -> None:
        if n_features < 2:
            raise ValueError(f"n_features is {n_features}, but must be at least 2")
        super().__init__(n_features, epsilon, name)

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

    In use they are the running ones, and the result of a row does not depend on the others.

    Parameters
    ----------
    n_features
        Size of x's last axis.
    momentum
        Weight of the new batch, within (0, 1], as in torch.
    epsilon, name
        As in `LayerNorm`; the statistics' names get the prefix too.

    Attributes
    ----------
    statistics
        running_mean (starts at 0) and running_variance (at 1): saved with `params`, not trained.
    updates
        The statistics and their next values. Compile the training graph with
        ``updates={**norm.updates, **other_updates}``, or they stay where they start.

    Raises
    ------
    ValueError
        If the momentum is not within (0, 1], or a mask does not fit or holds anything but 0 and 1;
        in training also if there are less than two rows: one has no variance.
    TypeError
        If `training` is neither True nor False.
    RuntimeError
        If the layer is used in training a second time: both uses would set the statistics. To build
        a training graph anew, empty `updates` first.

    Examples
    --------
    >>> import pytensor, pytensor.tensor as pt
    >>> norm, x = BatchNorm(1, momentum=0.5), pt.matrix("x")
    >>> y = norm(x, training=True)
    >>> step = pytensor.function([x], y, updates=norm.updates, mode="FAST_COMPILE")
    >>> step([[1.0], [3.0]]).round(3).tolist()
    [[-1.0], [1.0]]
    >>> [s.get_value().item() for s in norm.statistics]  # half way from 0 and 1 to 2 and 2
    [1.0, 1.5]
    """

    def __init__(
        self, n_features: int, momentum: float = 0.1, epsilon: float = 1e-5, name: str = ""
    ) -> None:
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum is {momentum}, but must be in (0, 1]: the new batch's part")
        super().__init__(n_features, epsilon, name)
        self.momentum = momentum
        self.running_mean, self.running_variance = self.statistics = [
            shared_parameter(_named(name, symbol), (n_features,), np.full(n_features, start))
            for symbol, start in (("running_mean", 0.0), ("running_variance", 1.0))
        ]
        self.updates: dict[SharedVariable, TensorVariable] = {}

    def __call__(self, x: Any, *, training: bool, mask: Any = None) -> TensorVariable:
        """Return y, of the shape of x, and with ``training=True`` fill `updates`.

        Parameters
        ----------
        x
            Shape ``(time, batch, n_features)``, or with one or more other leading axes.
        training
            True for the graph that is trained, False for the one for use.
        mask
            Which rows there are, shape ``(time, batch)`` (x's leading axes): 1 (or True) for a row,
            0 for padding, which does not count, whatever it holds, and whose y is 0.
        """
        _check_training(training)
        if training and self.updates:
            raise RuntimeError(
                "this BatchNorm is used in training already, and a second use would set its "
                "running statistics too: make a BatchNorm for each place. To build the training "
                "graph anew, write norm.updates.clear() before"
            )
        x = _checked_input(x, self.n_features, self.gain, min_axes=2)
        there = None if mask is None else checked_mask(mask, x)
        x = _where(there, x)
        if training:
            mean, variance = self._of_batch(x, there)
        else:
            mean, variance = self.statistics
        return _where(there, self._normalised(x, mean, variance))

    def _of_batch(self, x: TensorVariable, there: TensorVariable | None) -> list[TensorVariable]:
        """Mean and variance of the rows that are there; fills `updates`."""
        sizes = x.type.shape[:-1]
        if None not in sizes and np.prod(sizes) < 2:
            raise ValueError(
                f"x has shape {x.type.shape}, but batch normalisation in training needs at least "
                "two rows: use a larger batch, or LayerNorm"
            )
        n = pt.prod(pt.stack(tuple(x.shape)[:-1])) if there is None else there.sum()
        n = CheckAndRaise(
            ValueError,
            "batch normalisation in training needs at least two rows that are no padding: use a "
            "larger batch, leave out a last batch of one row, or use LayerNorm",
        )(n, pt.ge(n, 2)).astype(x.dtype)
        axes, momentum = tuple(range(x.ndim - 1)), np.asarray(self.momentum, dtype=x.dtype)
        mean = x.sum(axis=axes) / n
        squares = (_where(there, x - mean) ** 2).sum(axis=axes)
        for running, new in zip(self.statistics, (mean, squares / (n - 1)), strict=True):
            self.updates[running] = (1 - momentum) * running + momentum * new
        return [mean, squares / n]


def _named(name: str, symbol: str) -> str:
    return f"{name}.{symbol}" if name else symbol


def _where(there: TensorVariable | None, values: TensorVariable) -> TensorVariable:
    """Zeros in place of padding."""
    return values if there is None else pt.switch(there, values, 0)


def _check_training(training: Any) -> None:
    if not isinstance(training, bool | np.bool_):
        raise TypeError(
            f"training is {training!r}, but must be True or False: training and use are two "
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
