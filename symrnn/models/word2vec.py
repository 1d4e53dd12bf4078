"""Word vectors by predicting: skip-gram and CBOW, with full softmax or negative sampling.

Skip-gram predicts the words near a word from that word, CBOW (continuous bag of words) a word from
those near it (Mikolov et al., 2013a)::

    h = V[w]                                         skip-gram; w is the word
    h = mean over j of V[w_j]                        CBOW; w_j are the words near it

    full softmax        p(t | h) = softmax(h U^T)_t,   L = mean of -log p(t | h)
    negative sampling   L = mean of -log sigmoid(h . u_t) - sum over n of log sigmoid(-h . u_n)

V (`W_in`) holds the word vectors, U (`W_out`) a second vector for each word as a target. Full
softmax computes a score for each word of the vocabulary; negative sampling only has to distinguish
the true word t from k words n that are drawn from a noise distribution. Its optimal h . u are the
pointwise mutual information less log k (Levy and Goldberg, 2014): so counting and predicting have
the same aim.

A batch holds few of the words, so an update must not touch all rows. `pytensor.grad` with respect
to the rows that were taken, ``V[w]``, is as large as the batch; `gradient_descent_on_rows` adds it
to these rows of V, a scatter-add.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_positive, check_rng, check_sizes, check_whole
from symrnn.compiling.function import function
from symrnn.nn.initializers import uniform
from symrnn.nn.module import Module, parameter
from symrnn.text.contexts import NONE
from symrnn.training.losses import categorical_cross_entropy
from symrnn.training.optimizers import gradient_descent

FITS = CheckAndRaise(
    ValueError,
    "words, targets and negatives must be of one batch: as many rows each; negatives are "
    "(batch, k), or (m,), shared by all targets, and k and m at least 1 and at most 1000",
)


class Rows(NamedTuple):
    """Rows of a matrix that a graph has taken.

    Attributes
    ----------
    matrix
        A shared variable of shape ``(rows, features)``.
    ids
        Which rows, integers of shape ``(n,)``; a row may be taken several times.
    values
        ``matrix[ids]``, shape ``(n, features)``: the variable to use in the graph.
    """

    matrix: SharedVariable
    ids: TensorVariable
    values: TensorVariable


def take_rows(matrix: SharedVariable, ids: Any) -> Rows:
    """Take rows of a matrix for a graph.

    Parameters
    ----------
    matrix
        A shared variable of shape ``(rows, features)``.
    ids
        Which rows, integers of any shape, which is flattened.

    Examples
    --------
    >>> W = pytensor.shared(np.eye(3), name="W")
    >>> take_rows(W, [[2], [2]]).values.eval(mode="FAST_COMPILE").tolist()
    [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    """
    ids = pt.as_tensor_variable(ids).flatten()
    ids = CheckAndRaise(
        ValueError, "a token id is below 0, or not below n_tokens, the size of the vocabulary"
    )(ids, pt.ge(ids, 0).all(), pt.lt(ids, matrix.shape[0]).all())
    return Rows(matrix, ids, matrix[ids])


def gradient_descent_on_rows(
    loss: TensorVariable, rows: Sequence[Rows], learning_rate: Any
) -> dict[SharedVariable, TensorVariable]:
    """Gradient descent that changes only the rows that a loss depends on.

    ``W[i] <- W[i] - eta dL/dW[i]`` for the rows i that were taken. The gradients of a row that was
    taken several times, also by several `Rows` of one matrix, add up. So the result is that of
    `symrnn.gradient_descent`, but the time does not grow with the matrix.

    Parameters
    ----------
    loss
        A scalar, which depends on the matrices through ``rows[k].values`` alone.
    rows
        What `take_rows` returned.
    learning_rate
        eta: a number, a shared scalar, or the graph of one.

    Returns
    -------
    dict
        ``{matrix: its next value}``, for ``updates=``.

    Examples
    --------
    >>> W = pytensor.shared(np.zeros((4, 2)), name="W")
    >>> rows = take_rows(W, [1, 3, 1])
    >>> loss = rows.values.sum()
    >>> step = function([], loss, updates=gradient_descent_on_rows(loss, [rows], 0.5))
    >>> step(), W.get_value().tolist()
    (array(0.), [[0.0, 0.0], [-1.0, -1.0], [0.0, 0.0], [-0.5, -0.5]])
    """
    if not isinstance(learning_rate, Variable):
        check_positive("learning_rate", learning_rate)
    eta = pt.as_tensor_variable(learning_rate).astype(loss.dtype)
    steps = pytensor.grad(-eta * loss, [r.values for r in rows])
    updates: dict[SharedVariable, TensorVariable] = {}
    for r, step in zip(rows, steps, strict=True):
        updates[r.matrix] = pt.inc_subtensor(updates.get(r.matrix, r.matrix)[r.ids], step)
    return updates


class SkipGram(Module):
    """Skip-gram: predicts the words near a word (Mikolov et al., 2013).

    ::

        h = V[w]                                                              w is the word
        full softmax        L = mean of -log softmax(h U^T)_t                 t is a word near it
        negative sampling   L = mean of -log sigmoid(h . u_t) - sum over n of log sigmoid(-h . u_n)

    Parameters
    ----------
    n_tokens
        Size of the vocabulary.
    n_features
        Size of the word vectors.
    rng
        Source of the initial V, uniform within ``+- 1 / (2 n_features)``. U starts at 0.

    Attributes
    ----------
    W_in, W_out
        V and U, each ``(n_tokens, n_features)``.

    Examples
    --------
    >>> model = SkipGram(3, 2, rng=np.random.default_rng(1))
    >>> step = model.compile_negative_sampling(learning_rate=0.5)
    >>> words, contexts, negatives = np.array([0, 1]), np.array([1, 0]), np.array([[2], [2]])
    >>> losses = [float(step(words, contexts, negatives)) for _ in range(200)]
    >>> round(losses[0], 3), losses[-1] < 0.2  # 2 log 2 at first
    (1.386, True)
    """

    def __init__(self, n_tokens: int, n_features: int, *, rng: Generator) -> None:
        check_sizes(n_tokens=n_tokens, n_features=n_features)
        check_rng(rng)
        self.n_tokens, self.n_features = n_tokens, n_features
        shape, limit = (n_tokens, n_features), 0.5 / n_features
        self.W_in = parameter("W_in", shape, partial(uniform, low=-limit, high=limit), rng=rng)
        self.W_out = parameter("W_out", shape, np.zeros(shape))

    @staticmethod
    def inputs() -> TensorVariable:
        """Return a symbolic batch of words, ``(batch,)``."""
        return pt.lvector("words")

    def hidden(self, words: TensorVariable) -> tuple[TensorVariable, Rows]:
        """Return h, ``(batch, n_features)``, and the rows of V that it is made of."""
        rows = take_rows(self.W_in, words)
        return rows.values, rows

    def softmax_loss(self, words: Any, targets: Any) -> tuple[TensorVariable, list[Rows]]:
        """Return L with full softmax, and the rows of V; L depends on all rows of U.

        Parameters
        ----------
        words
            Token ids, ``(batch,)``; for `CBOW` ``(batch, context)``.
        targets
            Token ids of the words t to predict, ``(batch,)``.
        """
        h, rows = self.hidden(words)
        return categorical_cross_entropy(h @ self.W_out.T, targets), [rows]

    def negative_sampling_loss(
        self, words: Any, targets: Any, negatives: Any, *, k: int | None = None
    ) -> tuple[TensorVariable, list[Rows]]:
        """Return L with negative sampling, and all rows that it depends on.

        Parameters
        ----------
        words
            Token ids, ``(batch,)``; for `CBOW` ``(batch, context)``.
        targets
            Token ids of the words t to predict, ``(batch,)``.
        negatives
            Token ids of the words n, drawn from the noise distribution. Shape ``(batch, k)``: for
            each target its own. Shape ``(m,)``: m shared by all targets of the batch, which
            together count as k for each; this has the same mean, and is far less work for large
            batches, one matrix product.
        k
            How many negative samples a target has; only for negatives of shape ``(m,)``.
        """
        positive, negative, weight, rows = self._scores(words, targets, negatives, k)
        return _mean_loss(positive, negative, weight), rows

    def _scores(self, words: Any, targets: Any, negatives: Any, k: int | None) -> tuple[Any, ...]:
        """Return h . u_t, h . u_n, the weight of a negative, and all rows these depend on."""
        h, rows = self.hidden(words)
        targets, negatives = pt.as_tensor_variable(targets), pt.as_tensor_variable(negatives)
        if negatives.ndim not in (1, 2):
            raise ValueError(
                f"negatives have {negatives.ndim} axes, but must be (batch, k), or (m,), shared by "
                "all targets"
            )
        targets = FITS(targets, pt.eq(targets.shape[0], h.shape[0]))
        m = negatives.shape[-1]
        fit = [pt.ge(m, 1), pt.le(m, 1000)]  # for a mean, and for _sum_softplus
        if negatives.ndim == 2:
            fit.append(pt.eq(negatives.shape[0], h.shape[0]))
        negatives = FITS(negatives, *fit)
        u, n = take_rows(self.W_out, targets), take_rows(self.W_out, negatives)
        positive = (h * u.values).sum(axis=1)
        if negatives.ndim == 1:
            check_whole("k", k)
            return positive, h @ n.values.T, k / n.ids.shape[0].astype(h.dtype), [rows, u, n]
        of_each = n.values.reshape((*tuple(negatives.shape), self.W_out.shape[1]))
        return positive, (h[:, None, :] * of_each).sum(axis=2), 1.0, [rows, u, n]

    def compile_softmax(self, learning_rate: Any, *, mode: Any = None) -> Any:
        """Compile a step of gradient descent with full softmax.

        Parameters
        ----------
        learning_rate
            Of the batch's *mean* loss: a number, or a shared scalar. word2vec takes the pairs one
            by one, with learning rates from 0.025; the same for a batch is 0.025 times its size.
            But a word that occurs many times in a batch takes as many steps at once, and if these
            are too long together, training diverges: subsampling
            (`symrnn.text.contexts.keep_probabilities`), smaller batches or a lower learning rate
            help.
        mode
            Compilation mode, see `symrnn.function`.

        Returns
        -------
        function
            ``(words, targets) -> loss``: the mean in nats, before the update.
        """
        words, targets = self.inputs(), pt.lvector("targets")
        loss, rows = self.softmax_loss(words, targets)
        updates = gradient_descent_on_rows(loss, rows, learning_rate)
        updates |= gradient_descent(loss, [self.W_out], learning_rate)
        return function([words, targets], loss, updates=updates, mode=mode)

    def compile_negative_sampling(
        self, learning_rate: Any, *, k: int | None = None, mode: Any = None
    ) -> Any:
        """Compile a step of gradient descent with negative sampling; it changes only a few rows.

        Parameters
        ----------
        learning_rate
            Of the batch's *mean* loss: a number, or a shared scalar; see `compile_softmax`.
        k
            Default: each target has its own negatives, ``(batch, k)``. A number: all targets of a
            batch share their negatives, ``(m,)``, which count as k. Each of the m then takes as
            many steps at once as a word that occurs ``batch k / m`` times in the batch: take for
            example m = 16 for batches of 256 and k = 5.
        mode
            Compilation mode, see `symrnn.function`.

        Returns
        -------
        function
            ``(words, targets, negatives) -> loss``: the mean in nats, before the update.
        """
        words, targets = self.inputs(), pt.lvector("targets")
        negatives = pt.lmatrix("negatives") if k is None else pt.lvector("negatives")
        positive, negative, weight, rows = self._scores(words, targets, negatives, k)
        loss = _mean_loss(positive, negative, weight)
        value = _sum_softplus(-positive[:, None]).mean() + weight * _sum_softplus(negative).mean()
        updates = gradient_descent_on_rows(loss, rows, learning_rate)
        return function([words, targets, negatives], value, updates=updates, mode=mode)


class CBOW(SkipGram):
    """CBOW, the continuous bag of words: predicts a word from those near it (Mikolov et al., 2013).

    ::

        h = mean over j of V[w_j]                                             w_j are those near it
        full softmax        L = mean of -log softmax(h U^T)_t                 t is the word
        negative sampling   L = mean of -log sigmoid(h . u_t) - sum over n of log sigmoid(-h . u_n)

    The functions are those of `SkipGram`, but ``words`` has shape ``(batch, context)``, with -1
    where there is no word; each row needs at least one.

    Parameters
    ----------
    n_tokens
        Size of the vocabulary.
    n_features
        Size of the word vectors.
    rng
        Source of the initial V, uniform within ``+- 1 / (2 n_features)``. U starts at 0.

    Examples
    --------
    >>> model = CBOW(3, 2, rng=np.random.default_rng(1))
    >>> step = model.compile_softmax(learning_rate=0.5)
    >>> contexts, words = np.array([[1, -1], [0, 2], [1, -1]]), np.array([0, 1, 2])
    >>> losses = [float(step(contexts, words)) for _ in range(200)]
    >>> round(losses[0], 3), losses[-1] < 0.6  # log 3 at first; 0 and 2 have the same context
    (1.099, True)
    """

    @staticmethod
    def inputs() -> TensorVariable:
        """Return a symbolic batch of contexts, ``(batch, context)``."""
        return pt.lmatrix("words")

    def hidden(self, words: TensorVariable) -> tuple[TensorVariable, Rows]:
        """Return h, the mean of the context's rows of V, and these rows."""
        words = pt.as_tensor_variable(words)
        valid = pt.neq(words, NONE)
        rows = take_rows(self.W_in, pt.where(valid, words, 0))  # none: row 0, with a gradient of 0
        values = rows.values.reshape((*tuple(words.shape), self.W_in.shape[1]))
        n = valid.sum(axis=1, keepdims=True).astype(self.W_in.dtype)
        n = CheckAndRaise(ValueError, "a row of words holds no word, only -1")(n, pt.gt(n, 0).all())
        return pt.where(valid[:, :, None], values, 0).sum(axis=1) / n, rows


def _mean_loss(positive: Any, negative: Any, weight: Any) -> TensorVariable:
    """L of the scores of targets, ``(batch,)``, and of negatives, ``(batch, negatives)``."""
    return pt.softplus(-positive).mean() + weight * pt.softplus(negative).sum(axis=1).mean()


def _sum_softplus(x: TensorVariable) -> TensorVariable:
    """Sum of ``log(1 + exp(x))`` over each row, with one logarithm a row: they take most time."""
    factors = (1 + pt.exp(-abs(x))).prod(axis=1, dtype="float64", acc_dtype="float64")  # 1 to 2^k
    return pt.maximum(x, 0).sum(axis=1) + pt.log(factors).astype(x.dtype)
