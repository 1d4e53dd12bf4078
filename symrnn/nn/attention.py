"""Attention: which positions of a source a decoder takes information from at a step.

For each query q_t a score says how well each position j of a memory m fits. A softmax makes weights
of the scores, and the context is the mean of the memory with these weights:

``a_tj = exp(score(q_t, m_j)) / sum_k exp(score(q_t, m_k))`` and ``context_t = sum_j a_tj m_j``
"""

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import disconnected_grad
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_choice, check_sizes
from symrnn.nn.initializers import Random, xavier_uniform
from symrnn.nn.inputs import checked_mask, float_variable
from symrnn.nn.module import Module, parameter

SCORES = ("dot", "scaled", "general", "additive")


class Attention(Module):
    """Attention of a decoder's states to an encoder's outputs: scores, weights and contexts.

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
    n_query
        Features of q, usually the size of the decoder's state.
    n_memory
        Features of m, the encoder's outputs. For ``"dot"`` and ``"scaled"`` it must be `n_query`,
        n above.
    rng
        Source of the initial weights; not needed for the scores without weights.
    n_hidden
        Hidden units of the additive score; default: `n_query`.

    Attributes
    ----------
    W
        For ``"general"``, shape ``(n_query, n_memory)``.
    W_q, W_m, b, v
        For ``"additive"``, shapes ``(n_query, n_hidden)``, ``(n_memory, n_hidden)``,
        ``(n_hidden,)`` and ``(n_hidden,)``.

    Examples
    --------
    The query fits the second of two positions; the second sample has only one.

    >>> attention = Attention("dot", 2, 2)
    >>> query = np.array([[[0.0, 9.0], [0.0, 9.0]]])  # (steps, batch, features)
    >>> memory = np.array([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    >>> context, weights = attention(query, memory, mask=np.array([[1, 1], [1, 0]]))
    >>> weights.eval(mode="FAST_COMPILE").round(3)  # (steps, batch, positions)
    array([[[0., 1.],
            [1., 0.]]])
    """

    def __init__(
        self,
        score: str,
        n_query: int,
        n_memory: int,
        *,
        rng: Random | None = None,
        n_hidden: int | None = None,
    ) -> None:
        check_choice("score", score, SCORES)
        n_hidden = n_query if n_hidden is None else n_hidden
        check_sizes(n_query=n_query, n_memory=n_memory, n_hidden=n_hidden)
        if score in ("dot", "scaled") and n_query != n_memory:
            raise ValueError(
                f"n_query is {n_query} and n_memory {n_memory}, but the score {score!r} needs both "
                "to be equal: 'general' and 'additive' take any"
            )
        self.score, self.n_query, self.n_memory = score, n_query, n_memory

        def weight(name: str, *shape: int, initial: Any = xavier_uniform) -> Any:
            return parameter(name, shape, initial, rng=rng)

        if score == "general":
            self.W = weight("W", n_query, n_memory)
        if score == "additive":
            self.W_q, self.W_m = weight("W_q", n_query, n_hidden), weight("W_m", n_memory, n_hidden)
            self.b = weight("b", n_hidden, initial=np.zeros(n_hidden))
            bound = np.sqrt(3 / n_hidden)
            self.v = weight("v", n_hidden, initial=lambda r, s: r.uniform(-bound, bound, s))

    def keys(self, memory: Any) -> TensorVariable:
        """Return the part of the scores that depends on the memory alone, to be computed once.

        Parameters
        ----------
        memory
            m, shape ``(positions, batch, n_memory)``. Padding that a mask will exclude must hold
            zeros (no NaN), as the outputs of `symrnn.unroll` do.

        Returns
        -------
        TensorVariable
            Shape ``(positions, batch, n_query)``, with `n_hidden` features for the additive score.
        """
        memory = self._three_axes("memory", memory, self.n_memory)
        if not self.params:
            return memory
        message = f"the memory must have {self.n_memory} features, n_memory of the attention"
        fits = CheckAndRaise(ValueError, message)
        memory = fits(memory, pt.eq(memory.shape[2], self.n_memory))
        return _times(memory, self.W.T if self.score == "general" else self.W_m)

    def __call__(
        self, query: Any, memory: Any, *, mask: Any = None, keys: Any = None
    ) -> tuple[TensorVariable, TensorVariable]:
        """Return contexts and weights.

        Parameters
        ----------
        query
            q, shape ``(steps, batch, n_query)``, at least one step.
        memory
            m, shape ``(positions, batch, n_memory)``, at least one position.
        mask
            Which positions are valid, shape ``(positions, batch)``: 1 (or True), and 0 for padding,
            which has the weight 0, whatever it holds.
        keys
            What `keys` returned for this memory; default: computed here.

        Returns
        -------
        context : TensorVariable
            Shape ``(steps, batch, n_memory)``.
        weights : TensorVariable
            Shape ``(steps, batch, positions)``. They sum to 1, and to 0 for a sample without valid
            positions. Both have the dtype of the attention's weights, if it has any.
        """
        query = self._three_axes("query", query, self.n_query)
        memory = self._three_axes("memory", memory, self.n_memory)
        valid = None
        if mask is not None:
            valid = checked_mask(mask, memory)
            memory = pt.switch(valid, memory, 0)
            valid = valid[:, :, 0].T[None]  # (1, batch, positions)
        query = self._checked_query(query, memory, keys)
        keys = self.keys(memory) if keys is None else keys
        weights = masked_softmax(self._scores(query, keys), mask=valid)
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
        weights = self.params
        return x.astype(weights[0].dtype) if weights else x

    def _checked_query(
        self, query: TensorVariable, memory: TensorVariable, keys: Any
    ) -> TensorVariable:
        """Return the query, which checks all shapes when the function is called."""
        message = (
            f"query and memory must have the shapes (steps, batch, n_query = {self.n_query}) and "
            f"(positions, batch, n_memory = {self.n_memory}), of the same batch, with at least one "
            "step, position and sample; keys must be what the method keys returned for the memory"
        )
        batches = query.type.shape[1], memory.type.shape[1]
        if None not in batches and batches[0] != batches[1]:
            raise ValueError(f"{message} (the batches are {batches[0]} and {batches[1]})")
        positions, batch = memory.shape[0], memory.shape[1]
        conditions = [
            pt.eq(query.shape[2], self.n_query), pt.eq(memory.shape[2], self.n_memory),
            pt.eq(query.shape[1], batch), pt.gt(query.size, 0), pt.gt(positions, 0),
        ]  # fmt: skip
        if keys is not None:
            n_keys = self.W_q.shape[1] if self.score == "additive" else self.n_query
            wanted = zip(keys.shape, (positions, batch, n_keys), strict=True)
            conditions += [pt.eq(size, n) for size, n in wanted]
        return CheckAndRaise(ValueError, message)(query, *conditions)

    def _scores(self, query: TensorVariable, keys: TensorVariable) -> TensorVariable:
        """Scores of all positions for all queries, shape ``(steps, batch, positions)``."""
        if self.score == "additive":
            hidden = pt.tanh(_times(query, self.W_q)[:, None] + keys[None] + self.b)
            steps, positions, batch, n = hidden.shape
            scores = hidden.reshape((steps * positions * batch, n)) @ self.v
            return scores.reshape((steps, positions, batch)).transpose(0, 2, 1)
        scores = pt.matmul(query.transpose(1, 0, 2), keys.transpose(1, 2, 0)).transpose(1, 0, 2)
        if self.score == "scaled":
            return scores / np.asarray(np.sqrt(self.n_query), dtype=scores.dtype)
        return scores


def masked_softmax(scores: Any, *, mask: Any = None) -> TensorVariable:
    """Softmax over the last axis, of the valid scores only.

    ``y_i = exp(s_i) / sum_k exp(s_k)``, the sum over the valid k; ``y_i = 0`` where i is not valid

    Parameters
    ----------
    scores
        s, of any shape and a float dtype. (A row that is -inf throughout gives NaN: exclude it by
        the mask.)
    mask
        Truth values that broadcast to the shape of the scores: which are valid. Default: all. Where
        none of a row is, its result is 0.

    Returns
    -------
    TensorVariable
        Of the scores' shape and dtype.

    Examples
    --------
    >>> mask = np.array([[True, True, False], [False, False, False]])
    >>> masked_softmax(np.zeros((2, 3)), mask=mask).eval(mode="FAST_COMPILE")
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
