"""Multi-head attention, the part of a Transformer in which steps exchange information."""

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_sizes
from symrnn.nn.attention import masked_softmax
from symrnn.nn.initializers import Random
from symrnn.nn.inputs import checked_mask, float_variable
from symrnn.nn.layers import Dense
from symrnn.nn.module import Module


class MultiHeadAttention(Module):
    """Scaled dot-product attention, several heads side by side (Vaswani et al., 2017).

    ::

        q = x W_q + b_q    [k, v] = m W_kv + b_kv
        a_h = softmax(q_h k_h^T / sqrt(d))        h = 1 ... n_heads, d = n_features / n_heads
        y = [a_1 v_1, ..., a_H v_H] W_o + b_o

    q_h, k_h and v_h have d of the features. In self-attention the memory m is x itself.

    Parameters
    ----------
    n_features
        Features of x, m and y.
    n_heads
        Number of heads, which share the features; it must divide `n_features`.
    rng
        Source of the initial weights.

    Attributes
    ----------
    query, keys_values, output : Dense
        With the weights W_q and b_q, W_kv and b_kv, W_o and b_o.

    Examples
    --------
    >>> attention = MultiHeadAttention(4, 2, rng=np.random.default_rng(1))
    >>> y, weights = attention(np.ones((3, 1, 4)), causal=True)  # (time, batch, features)
    >>> weights[:, 0, 0].eval(mode="FAST_COMPILE").round(2)  # (steps, positions) of the first head
    array([[1.  , 0.  , 0.  ],
           [0.5 , 0.5 , 0.  ],
           [0.33, 0.33, 0.33]])
    """

    def __init__(self, n_features: int, n_heads: int, *, rng: Random) -> None:
        check_sizes(n_features=n_features, n_heads=n_heads)
        if n_features % n_heads:
            raise ValueError(
                f"n_heads is {n_heads} and n_features {n_features}, but the heads share the "
                "features equally: n_heads must divide n_features"
            )
        self.n_features, self.n_heads = n_features, n_heads
        self.query = Dense(n_features, n_features, rng=rng)
        self.keys_values = Dense(n_features, 2 * n_features, rng=rng)
        self.output = Dense(n_features, n_features, rng=rng)

    @property
    def dtype(self) -> str:
        """Dtype of the weights, with which the layer computes."""
        return str(self.output.W.dtype)

    def keys_and_values(self, memory: Any, *, mask: Any = None) -> TensorVariable:
        """Return k and v of a memory, to be computed once for all steps that attend to it.

        Parameters
        ----------
        memory
            m, shape ``(positions, batch, n_features)``.
        mask
            Which positions are valid, shape ``(positions, batch)``. The call of the layer needs it
            again: here it keeps what padding holds, even NaN, out of the gradients.

        Returns
        -------
        TensorVariable
            k and v side by side, shape ``(positions, batch, 2 n_features)``.
        """
        return self.keys_values(without_padding(three_axes("memory", memory, self.dtype), mask))

    def __call__(
        self,
        x: Any,
        memory: Any = None,
        *,
        mask: Any = None,
        causal: bool = False,
        keys_values: Any = None,
    ) -> tuple[TensorVariable, TensorVariable]:
        """Return y and the weights a.

        Parameters
        ----------
        x
            Shape ``(steps, batch, n_features)``, at least one step.
        memory
            m, what x attends to, shape ``(positions, batch, n_features)``, at least one position.
            Default: x.
        mask
            Which positions of m are valid, shape ``(positions, batch)``: 1 (or True), and 0 for
            padding, which has the weight 0, whatever it holds.
        causal
            True lets a step attend to no position after its own. If there are more positions than
            steps, the steps are the last ones; there must not be fewer.
        keys_values
            In place of a memory: what `keys_and_values` returned for it and the same mask.

        Returns
        -------
        y : TensorVariable
            Shape ``(steps, batch, n_features)``.
        weights : TensorVariable
            Shape ``(steps, batch, n_heads, positions)``. They sum to 1, and to 0 for a sample
            without valid positions.
        """
        if memory is not None and keys_values is not None:
            raise ValueError("memory and keys_values are the same thing: give one of the two")
        x = three_axes("x", x, self.dtype)
        if keys_values is None:
            if memory is None:
                memory = x = without_padding(x, mask)
            keys_values = self.keys_and_values(memory, mask=mask)
        keys_values = self._checked_keys_values(keys_values, x, causal)
        n, d = self.n_features, self.n_features // self.n_heads
        q = self.query(x)
        k, v = pt.split(keys_values, [n, n], n_splits=2, axis=2)
        steps, batch, positions = q.shape[0], q.shape[1], k.shape[0]
        # the heads of all samples are a batch of small matrices
        scores = pt.matmul(self._heads(q), self._heads(k).transpose(0, 2, 1))
        scores = scores / np.asarray(np.sqrt(d), dtype=scores.dtype)
        scores = scores.reshape((batch, self.n_heads, steps, positions))
        weights = masked_softmax(scores, mask=_attention_mask(k, steps, mask, causal))
        rows = weights.reshape((batch * self.n_heads, steps, positions))
        context = pt.matmul(rows, self._heads(v)).transpose(1, 0, 2).reshape((steps, batch, n))
        return self.output(context), weights.transpose(2, 0, 1, 3)

    def _checked_keys_values(
        self, keys_values: Any, x: TensorVariable, causal: bool
    ) -> TensorVariable:
        """Reject what does not fit x, and a memory in place of its keys and values."""
        keys_values = three_axes("keys_values", keys_values, self.dtype)
        wanted, (positions, batch, n) = 2 * self.n_features, keys_values.shape
        message = (
            "x and the memory that it attends to (in a model, target and source) must have the "
            "same batch, none may be empty, and causal needs at least as many positions as steps; "
            f"keys_values must have {wanted} features, keys and values side by side: give what the "
            "method keys_and_values returns for a memory, and not the memory"
        )
        if keys_values.type.shape[2] not in (None, wanted):
            raise ValueError(f"{message} (they have {keys_values.type.shape[2]})")
        batches = x.type.shape[1], keys_values.type.shape[1]
        if None not in batches and batches[0] != batches[1]:
            raise ValueError(f"{message} (the batches are {batches[0]} and {batches[1]})")
        conditions = [
            pt.eq(n, wanted), pt.eq(batch, x.shape[1]), pt.gt(keys_values.size, 0),
            pt.ge(positions, x.shape[0]) if causal else pt.gt(x.shape[0], 0),
        ]  # fmt: skip
        return CheckAndRaise(ValueError, message)(keys_values, *conditions)

    def _heads(self, x: TensorVariable) -> TensorVariable:
        """From (time, batch, n_features) to (batch * n_heads, time, d)."""
        time, batch, n = x.shape[0], x.shape[1], self.n_features
        return x.reshape((time, batch * self.n_heads, n // self.n_heads)).transpose(1, 0, 2)


def _attention_mask(k: TensorVariable, steps: Any, mask: Any, causal: bool) -> Any:
    """Which positions a step may attend to; broadcasts to (batch, heads, steps, positions)."""
    valid = None if mask is None else checked_mask(mask, k)[:, :, 0].T[:, None, None]
    if not causal:
        return valid
    n = k.shape[0]
    not_later = pt.le(pt.arange(n), pt.arange(n - steps, n)[:, None])[None, None]
    return not_later if valid is None else valid & not_later


def without_padding(x: TensorVariable, mask: Any) -> TensorVariable:
    """Zeros in place of padding: nothing that it holds, even NaN, gets into a gradient."""
    return x if mask is None else pt.switch(checked_mask(mask, x), x, 0)


def three_axes(name: str, x: Any, dtype: str) -> TensorVariable:
    """Return x, which must be ``(time, batch, features)``, in a dtype."""
    x = float_variable(x, name)
    if x.ndim != 3:
        raise ValueError(
            f"{name} has {x.ndim} axes, but must have three, (time, batch, features): "
            f"a single step is {name}[None]"
        )
    return x.astype(dtype)
