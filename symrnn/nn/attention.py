"""Attention: what a decoder looks at among the outputs of an encoder.

For each query a score says how well each place of the source fits. Scores become weights by a
softmax, and the context is the mean of the places with these weights:

``a_tj = exp(score(q_t, m_j)) / sum_k exp(score(q_t, m_k))`` and ``context_t = sum_j a_tj m_j``
"""

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import disconnected_grad
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_whole
from symrnn.nn.initializers import Random, xavier_uniform
from symrnn.nn.inputs import checked_mask, float_variable
from symrnn.nn.module import Module, parameter

SCORES = ("dot", "scaled", "general", "additive")


class Attention(Module):
    """Scores, weights and contexts.

    ==========  =====================================  =========================================
    score       score(q, m)                            source
    ==========  =====================================  =========================================
    dot         ``q . m``                              Luong et al., 2015
    scaled      ``q . m / sqrt(n)``                    Vaswani et al., 2017
    general     ``q W . m``                            Luong et al., 2015 (bilinear)
    additive    ``v . tanh(q W_q + m W_m + b)``        Bahdanau et al., 2015
    ==========  =====================================  =========================================

    Parameters
    ----------
    score
        One of these names.
    n_query, n_memory
        Features of q, as a rule the decoder's state, and of m, the encoder's outputs. For ``"dot"``
        and ``"scaled"`` they must be equal, n above.
    rng
        Source of the first weights; not needed where there are none.
    n_hidden
        Units of the additive score; default: `n_query`.
    name
        Prefix of the weights' names.

    Attributes
    ----------
    params
        The weights: none, W of shape ``(n_query, n_memory)``, or W_q, W_m, b and v.

    Raises
    ------
    ValueError
        If there is no such score, or a size is below 1 or does not fit.

    Examples
    --------
    The query fits the second of two places, of which the second batch row has only one.

    >>> attention = Attention("dot", 2, 2)
    >>> query = np.array([[[0.0, 9.0], [0.0, 9.0]]])  # (steps, batch, features)
    >>> memory = np.array([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    >>> context, weights = attention(query, memory, mask=np.array([[1, 1], [1, 0]]))
    >>> weights.eval(mode="FAST_COMPILE").round(3)  # (steps, batch, places)
    array([[[0., 1.],
            [1., 0.]]])
    """

    def __init__(
        self,
        score: str,
        n_query: int,
        n_memory: int,
        rng: Random | None = None,
        n_hidden: int | None = None,
    ) -> None:
        if score not in SCORES:
            raise ValueError(f"score is {score!r}, but must be one of {', '.join(SCORES)}")
        n_hidden = n_query if n_hidden is None else n_hidden
        for label, size in (("n_query", n_query), ("n_memory", n_memory), ("n_hidden", n_hidden)):
            check_whole(label, size)
        if score in ("dot", "scaled") and n_query != n_memory:
            raise ValueError(
                f"the score {score!r} needs a query as long as a place of the memory, but n_query "
                f"is {n_query} and n_memory {n_memory}: 'general' and 'additive' take any"
            )
        self.score, self.n_query, self.n_memory = score, n_query, n_memory

        def weight(label: str, *shape: int, initial: Any = xavier_uniform) -> Any:
            return parameter(label, shape, initial, rng=rng)

        if score == "general":
            self.W = weight("W", n_query, n_memory)
        if score == "additive":
            self.W_q, self.W_m = weight("W_q", n_query, n_hidden), weight("W_m", n_memory, n_hidden)
            self.b = weight("b", n_hidden, initial=np.zeros(n_hidden))
            bound = np.sqrt(3 / n_hidden)
            self.v = weight("v", n_hidden, initial=lambda r, s: r.uniform(-bound, bound, s))

    def keys(self, memory: Any) -> TensorVariable:
        """Return what of the scores depends on the memory alone, to be computed once.

        Where a mask will leave something out, the memory must hold zeros (no NaN) here already, as
        the outputs of `symrnn.nn.recurrent` do.

        Shape ``(places, batch, n_query)``, or ``n_hidden`` features for the additive score.

        Raises
        ------
        TypeError, ValueError
            As for the call.
        """
        memory = self._three_axes("memory", memory, self.n_memory)
        if not self.params:
            return memory
        message = f"the memory must have {self.n_memory} features, n_memory of the attention"
        fits = CheckAndRaise(ValueError, message)
        memory = fits(memory, pt.eq(memory.shape[2], self.n_memory))
        return _times(memory, self.W.T if self.score == "general" else self.W_m)

    def __call__(
        self, query: Any, memory: Any, mask: Any = None, keys: Any = None
    ) -> tuple[TensorVariable, TensorVariable]:
        """Return contexts and weights.

        Parameters
        ----------
        query
            q, shape ``(steps, batch, n_query)``, at least one step.
        memory
            m, shape ``(places, batch, n_memory)``, at least one place.
        mask
            Which places there are, shape ``(places, batch)``: 1 (or True), and 0 for padding, which
            gets no weight, whatever it holds.
        keys
            What `keys` returned for this memory; default: computed here.

        Returns
        -------
        context : TensorVariable
            Shape ``(steps, batch, n_memory)``.
        weights : TensorVariable
            Shape ``(steps, batch, places)``. They sum to 1; to 0 where the mask has no place at
            all. Both have the dtype of the weights, if there are any.

        Raises
        ------
        TypeError, ValueError
            If something is not of a float dtype, has another number of axes or features or another
            batch, or is empty, or the mask does not fit: while the graph is built if static shapes
            tell, else when the compiled function is called.
        """
        query = self._three_axes("query", query, self.n_query)
        memory = self._three_axes("memory", memory, self.n_memory)
        there = None
        if mask is not None:
            there = checked_mask(mask, memory)
            memory = pt.switch(there, memory, 0)
            there = there[:, :, 0].T[None]  # (1, batch, places)
        query = self._fitting(query, memory, keys)
        keys = self.keys(memory) if keys is None else keys
        weights = masked_softmax(self._scores(query, keys), there)
        weights.name = "attention"
        context = pt.matmul(weights.transpose(1, 0, 2), memory.transpose(1, 0, 2))
        return context.transpose(1, 0, 2), weights

    def _three_axes(self, name: str, x: Any, n_features: int) -> TensorVariable:
        x = float_variable(x, name)
        if x.ndim != 3:
            raise ValueError(
                f"the {name} has {x.ndim} axes, but must have three, (time, batch, features): a "
                f"single step is {name}[None]"
            )
        if x.type.shape[2] not in (None, n_features):
            raise ValueError(
                f"the {name} has {x.type.shape[2]} features, but the attention was made for "
                f"{n_features}: they are n_{name}"
            )
        return x.astype(self.params[0].dtype) if self.params else x

    def _fitting(self, query: TensorVariable, memory: TensorVariable, keys: Any) -> TensorVariable:
        """Return the query, which checks all shapes when the function is called."""
        message = (
            f"query and memory must have the shapes (steps, batch, n_query = {self.n_query}) and "
            f"(places, batch, n_memory = {self.n_memory}), of the same batch, with at least one "
            "step, place and sample; keys must be what the method keys returned for the memory"
        )
        batches = query.type.shape[1], memory.type.shape[1]
        if None not in batches and batches[0] != batches[1]:
            raise ValueError(f"{message} (the batches are {batches[0]} and {batches[1]})")
        places, batch = memory.shape[0], memory.shape[1]
        conditions = [
            pt.eq(query.shape[2], self.n_query), pt.eq(memory.shape[2], self.n_memory),
            pt.eq(query.shape[1], batch), pt.gt(query.size, 0), pt.gt(places, 0),
        ]  # fmt: skip
        if keys is not None:
            n_keys = self.W_q.shape[1] if self.score == "additive" else self.n_query
            wanted = zip(keys.shape, (places, batch, n_keys), strict=True)
            conditions += [pt.eq(size, n) for size, n in wanted]
        return CheckAndRaise(ValueError, message)(query, *conditions)

    def _scores(self, query: TensorVariable, keys: TensorVariable) -> TensorVariable:
        """Scores of all places for all queries, shape ``(steps, batch, places)``."""
        if self.score == "additive":
            hidden = pt.tanh(_times(query, self.W_q)[:, None] + keys[None] + self.b)
            steps, places, batch, n = hidden.shape
            scores = hidden.reshape((steps * places * batch, n)) @ self.v
            return scores.reshape((steps, places, batch)).transpose(0, 2, 1)
        scores = pt.matmul(query.transpose(1, 0, 2), keys.transpose(1, 2, 0)).transpose(1, 0, 2)
        if self.score == "scaled":
            return scores / np.asarray(np.sqrt(self.n_query), dtype=scores.dtype)
        return scores


def masked_softmax(scores: Any, mask: Any = None) -> TensorVariable:
    """Softmax over the last axis, of those alone that are there.

    Parameters
    ----------
    scores
        Any shape, float.
    mask
        None, or truth values that can be stretched (broadcast) to that shape. A score that is not
        there gets the weight 0, whatever it is; where none is, all are 0. (A row that is -inf
        throughout gives NaN: leave places out by a mask.)

    Raises
    ------
    TypeError
        If the scores are not of a float dtype.

    Examples
    --------
    >>> masked_softmax(np.zeros((2, 3)), np.array([[True, True, False], [False] * 3])).eval(
    ...     mode="FAST_COMPILE")
    array([[0.5, 0.5, 0. ],
           [0. , 0. , 0. ]])
    """
    scores = float_variable(scores, "scores")
    if mask is None:
        e = pt.exp(scores - disconnected_grad(scores.max(axis=-1, keepdims=True)))
        return e / e.sum(axis=-1, keepdims=True)
    lowest = np.asarray(np.finfo(scores.dtype).min, dtype=scores.dtype)
    scores = pt.switch(mask, scores, lowest)
    e = pt.exp(scores - disconnected_grad(scores.max(axis=-1, keepdims=True)))
    e = pt.switch(mask, e, pt.zeros((), dtype=scores.dtype))
    total = e.sum(axis=-1, keepdims=True)
    return e / pt.switch(pt.gt(total, 0), total, pt.ones((), dtype=scores.dtype))


def _times(x: TensorVariable, W: TensorVariable) -> TensorVariable:
    """``x W`` for all steps and samples, as one product of two matrices."""
    time, batch, n = x.shape
    return (x.reshape((time * batch, n)) @ W).reshape((time, batch, W.shape[1]))
