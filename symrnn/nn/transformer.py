"""What a Transformer is made of: multi-head attention, layers around it, and positions.

No layer here has a loop: all steps of a sequence are computed side by side. Arrays are time-major,
``(time, batch, features)``, and in masks 1 (or True) says that a place is there.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_whole
from symrnn.nn.attention import masked_softmax
from symrnn.nn.initializers import Random, normal
from symrnn.nn.inputs import checked_mask, float_variable
from symrnn.nn.layers import Dense, LayerNorm
from symrnn.nn.module import Module, parameter

ACTIVATIONS: dict[str, Callable[[TensorVariable], TensorVariable]] = {
    "relu": lambda x: pt.maximum(x, 0),
    "gelu": lambda x: x * (1 + pt.erf(x * np.asarray(np.sqrt(0.5), dtype=x.dtype))) / 2,
}
"""``max(x, 0)``, and x times the normal distribution function (Hendrycks and Gimpel, 2016)."""

Drop = Callable[[TensorVariable], TensorVariable]
PAST_FITS = CheckAndRaise(
    ValueError,
    "past does not fit x: it must be what an earlier call of the layer returned for the same "
    "batch, (steps, batch, 2 n_features)",
)


class MultiHeadAttention(Module):
    """Scaled dot-product attention, several times side by side (Vaswani et al., 2017).

    ::

        q = x W_q + b_q    [k, v] = m W_kv + b_kv
        a_h = softmax(q_h k_h^T / sqrt(d))        h = 1 ... n_heads, d = n_features / n_heads
        y = [a_1 v_1, ..., a_H v_H] W_o + b_o

    q_h, k_h and v_h are d of the features. In self-attention the memory m is x itself.

    Parameters
    ----------
    n_features
        Features of x, m and y.
    n_heads
        How many heads share the features; it must divide `n_features`.
    rng
        Source of the first weights.
    name
        Prefix of the weights' names.

    Attributes
    ----------
    params
        W_q, b_q, W_kv, b_kv, W_o, b_o, named ``query.W``, ``query.b``, ``keys_values.W`` ...

    Raises
    ------
    ValueError
        If a size is below 1, or `n_heads` does not divide `n_features`.

    Examples
    --------
    >>> attention = MultiHeadAttention(4, n_heads=2, rng=np.random.default_rng(1))
    >>> y, weights = attention(np.ones((3, 1, 4)), causal=True)  # (time, batch, features)
    >>> weights[:, 0, 0].eval(mode="FAST_COMPILE").round(2)  # (steps, places) of the first head
    array([[1.  , 0.  , 0.  ],
           [0.5 , 0.5 , 0.  ],
           [0.33, 0.33, 0.33]])
    """

    def __init__(self, n_features: int, n_heads: int, rng: Random) -> None:
        check_whole("n_features", n_features)
        check_whole("n_heads", n_heads)
        if n_features % n_heads:
            raise ValueError(
                f"n_heads is {n_heads} and n_features {n_features}, but the heads share the "
                "features equally: n_heads must divide n_features"
            )
        self.n_features, self.n_heads = n_features, n_heads
        n = n_features
        self.to_query = Dense(n, n, rng=rng)
        self.to_keys_values = Dense(n, 2 * n, rng=rng)
        self.output = Dense(n, n, rng=rng)
        self.dtype = self.output.W.dtype

    def keys_values(self, memory: Any, mask: Any = None) -> TensorVariable:
        """Return k and v of a memory, to be computed once where it is looked at again and again.

        Parameters
        ----------
        memory, mask
            As for the call, which needs the same mask again: here it keeps out what padding holds.

        Returns
        -------
        TensorVariable
            k and v side by side, shape ``(places, batch, 2 n_features)``.

        Raises
        ------
        TypeError, ValueError
            As for the call.
        """
        return self.to_keys_values(without_padding(_three_axes("memory", memory, self.dtype), mask))

    def __call__(
        self,
        x: Any,
        memory: Any = None,
        mask: Any = None,
        causal: bool = False,
        keys_values: Any = None,
    ) -> tuple[TensorVariable, TensorVariable]:
        """Return y and the weights.

        Parameters
        ----------
        x
            Shape ``(steps, batch, n_features)``, at least one step.
        memory
            What is looked at: m, shape ``(places, batch, n_features)``, at least one place.
            Default: x.
        mask
            Which places there are, shape ``(places, batch)``: 1 (or True), and 0 for padding, which
            gets no weight, whatever it holds.
        causal
            True lets a step look at no place after its own. Where there are more places than steps,
            the steps are the last ones; there must not be fewer.
        keys_values
            In place of a memory: what `keys_values` returned for it and the same mask.

        Returns
        -------
        y : TensorVariable
            Shape ``(steps, batch, n_features)``.
        weights : TensorVariable
            Shape ``(steps, batch, n_heads, places)``. They sum to 1; to 0 where no place is there.

        Raises
        ------
        TypeError, ValueError
            If something is not of a float dtype, has another number of axes or features or another
            batch, or is empty, or the mask does not fit, or both `memory` and `keys_values` are
            given.
        """
        if memory is not None and keys_values is not None:
            raise ValueError("memory and keys_values are the same thing: give one of the two")
        x = _three_axes("x", x, self.dtype)
        if keys_values is None:
            if memory is None:
                memory = x = without_padding(x, mask)
            keys_values = self.keys_values(memory, mask)
        keys_values = self._fitting(keys_values, x, causal)
        n, d = self.n_features, self.n_features // self.n_heads
        q = self.to_query(x)
        k, v = pt.split(keys_values, [n, n], n_splits=2, axis=2)
        steps, batch, places = q.shape[0], q.shape[1], k.shape[0]
        # the heads of all samples are a batch of small matrices
        scores = pt.matmul(self._heads(q), self._heads(k).transpose(0, 2, 1))
        scores = scores / np.asarray(np.sqrt(d), dtype=scores.dtype)
        scores = scores.reshape((batch, self.n_heads, steps, places))
        weights = masked_softmax(scores, _may_look(k, steps, mask, causal))
        context = pt.matmul(weights.reshape((batch * self.n_heads, steps, places)), self._heads(v))
        context = context.transpose(1, 0, 2).reshape((steps, batch, n))
        return self.output(context), weights.transpose(2, 0, 1, 3)

    def _fitting(self, keys_values: Any, x: TensorVariable, causal: bool) -> TensorVariable:
        """Refuse what does not fit x, and a memory in place of what `keys_values` returns."""
        keys_values = _three_axes("keys_values", keys_values, self.dtype)
        wanted, (places, batch, n) = 2 * self.n_features, keys_values.shape
        message = (
            "x and the memory that it looks at (in a model, target and source) must have the same "
            "batch, none may be empty, and causal needs at least as many places as steps; "
            f"keys_values must have {wanted} features, keys and values side by side: give what the "
            "method keys_values returns for a memory, and not the memory"
        )
        if keys_values.type.shape[2] not in (None, wanted):
            raise ValueError(f"{message} (they have {keys_values.type.shape[2]})")
        batches = x.type.shape[1], keys_values.type.shape[1]
        if None not in batches and batches[0] != batches[1]:
            raise ValueError(f"{message} (the batches are {batches[0]} and {batches[1]})")
        conditions = [
            pt.eq(n, wanted), pt.eq(batch, x.shape[1]), pt.gt(keys_values.size, 0),
            pt.ge(places, x.shape[0]) if causal else pt.gt(x.shape[0], 0),
        ]  # fmt: skip
        return CheckAndRaise(ValueError, message)(keys_values, *conditions)

    def _heads(self, x: TensorVariable) -> TensorVariable:
        """From (time, batch, n_features) to (batch * n_heads, time, d)."""
        time, batch, n = x.shape[0], x.shape[1], self.n_features
        return x.reshape((time, batch * self.n_heads, n // self.n_heads)).transpose(1, 0, 2)


def _may_look(k: TensorVariable, steps: Any, mask: Any, causal: bool) -> TensorVariable | None:
    """Which places a step may look at, to be stretched to (batch, heads, steps, places)."""
    there = None if mask is None else checked_mask(mask, k)[:, :, 0].T[:, None, None]
    if not causal:
        return there
    places = k.shape[0]
    past = pt.le(pt.arange(places), pt.arange(places - steps, places)[:, None])[None, None]
    return past if there is None else there & past


def without_padding(x: TensorVariable, mask: Any) -> TensorVariable:
    """Zeros in place of padding: nothing that it holds, NaN not either, gets into a gradient."""
    return x if mask is None else pt.switch(checked_mask(mask, x), x, 0)


def _three_axes(name: str, x: Any, dtype: str) -> TensorVariable:
    x = float_variable(x, name)
    if x.ndim != 3:
        raise ValueError(
            f"{name} has {x.ndim} axes, but must have three, (time, batch, features): "
            f"a single step is {name}[None]"
        )
    return x.astype(dtype)


class FeedForward(Module):
    """A net of one hidden layer, the same at each step: ``f(x W_1 + b_1) W_2 + b_2``.

    Parameters
    ----------
    n_features, n_hidden
        Features of x and of the result, and units between.
    rng
        Source of the first weights.
    activation
        f: ``"relu"`` or ``"gelu"``, see `ACTIVATIONS`.
    name
        Prefix of the weights' names, ``hidden.W``, ``hidden.b``, ``output.W``, ``output.b``.

    Raises
    ------
    ValueError
        If a size is below 1, or there is no such activation; for x, as `symrnn.nn.layers` says.
    """

    def __init__(
        self, n_features: int, n_hidden: int, rng: Random, activation: str = "relu"
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation is {activation!r}, but must be one of {', '.join(ACTIVATIONS)}"
            )
        self.hidden = Dense(n_features, n_hidden, rng=rng)
        self.output = Dense(n_hidden, n_features, rng=rng)
        self.activation = ACTIVATIONS[activation]

    def __call__(self, x: Any) -> TensorVariable:
        """Return the result, of the shape of x."""
        return self.output(self.activation(self.hidden(x)))


class TransformerLayer(Module):
    """Self-attention, attention to a memory if there is one, and a feed-forward net.

    Each of these parts f has a residual connection and a layer normalisation::

        x + D(f(norm(x)))    norm "pre" (Baevski and Auli, 2019; Xiong et al., 2020)
        norm(x + D(f(x)))    norm "post" (Vaswani et al., 2017)

    D is dropout. Before a net's output "pre" needs one more normalisation, which is not part of the
    layer. It learns with little care; "post" needs a rate that begins small.

    Parameters
    ----------
    n_features, n_heads, n_hidden
        Features of x, heads of the attention, and units of the feed-forward net.
    rng
        Source of the first weights.
    memory
        True makes the layer of a decoder that looks at an encoder's outputs too.
    norm
        ``"pre"`` or ``"post"``.
    activation
        Of the feed-forward net, ``"relu"`` or ``"gelu"``.
    name
        Prefix of the weights' names.

    Attributes
    ----------
    attention, cross, feed_forward
        The parts; `cross` is None without memory.
    norms
        A `LayerNorm` for each part, in order.
    params
        The weights, part by part, each with those of its normalisation.

    Raises
    ------
    ValueError
        If a size or an option is not as said.
    """

    def __init__(
        self,
        n_features: int,
        n_heads: int,
        n_hidden: int,
        rng: Random,
        memory: bool = False,
        norm: str = "pre",
        activation: str = "relu",
    ) -> None:
        if norm not in ("pre", "post"):
            raise ValueError(f"norm is {norm!r}, but must be 'pre' or 'post'")
        self.norm = norm
        self.attention = MultiHeadAttention(n_features, n_heads, rng=rng)
        self.cross: MultiHeadAttention | None = None
        if memory:
            self.cross = MultiHeadAttention(n_features, n_heads, rng=rng)
        self.feed_forward = FeedForward(
            n_features, n_hidden, rng=rng, activation=activation
        )
        parts = [part for part in (self.attention, self.cross, self.feed_forward) if part]
        self.norms = [LayerNorm(n_features) for k in range(len(parts))]

    def __call__(
        self,
        x: Any,
        mask: Any = None,
        causal: bool = False,
        memory: Any = None,
        memory_mask: Any = None,
        past: Any = None,
        drop: Drop = lambda y: y,
    ) -> tuple[TensorVariable, TensorVariable, TensorVariable | None]:
        """Return the outputs, keys and values of all steps so far, and where the memory was.

        Parameters
        ----------
        x
            Shape ``(steps, batch, n_features)``.
        mask
            Which steps are there, shape ``(steps, batch)``, 1 or 0. Not together with `past`.
        causal
            True lets no step look at a later one.
        memory
            For a layer made so: what ``cross.keys_values`` returned for the encoder's outputs,
            ``(places, batch, 2 n_features)``.
        memory_mask
            Which places of it there are, ``(places, batch)``.
        past
            Keys and values of the steps before those of x, as an earlier call returned them; they
            may be of no step yet.
        drop
            Dropout, ``lambda y: dropout(y, training=True)``; default: none.

        Returns
        -------
        y : TensorVariable
            Shape ``(steps, batch, n_features)``.
        so_far : TensorVariable
            `past` and the keys and values of x, ``(all steps, batch, 2 n_features)``.
        weights : TensorVariable or None
            Of the attention to the memory, ``(steps, batch, n_heads, places)``.

        Raises
        ------
        TypeError, ValueError
            If there is a memory and the layer was made without, or the other way round; `mask` and
            `past` are given together; or something does not fit x, as for `MultiHeadAttention`.
        """
        if (memory is None) != (self.cross is None):
            raise ValueError(
                "this layer was made with memory=True and needs one"
                if self.cross is not None
                else "this layer looks at no memory: make it with memory=True"
            )
        if past is not None and mask is not None:
            raise ValueError("mask and past cannot be had together: a step that follows is there")
        norms, found = iter(self.norms), {}

        def part(x: TensorVariable, f: Callable[[TensorVariable], TensorVariable]) -> Any:
            norm = next(norms)
            return x + drop(f(norm(x))) if self.norm == "pre" else norm(x + drop(f(x)))

        def look_at_itself(x: TensorVariable) -> TensorVariable:
            now = self.attention.keys_values(x)
            if past is not None:
                before = _three_axes("past", past, now.dtype)
                same = (pt.eq(before.shape[k], now.shape[k]) for k in (1, 2))
                now = pt.concatenate([PAST_FITS(before, *same), now], axis=0)
            found["so_far"] = now
            return self.attention(x, None, mask, causal, found["so_far"])[0]

        def look_at_memory(x: TensorVariable) -> TensorVariable:
            assert self.cross is not None
            y, found["weights"] = self.cross(x, mask=memory_mask, keys_values=memory)
            return y

        x = _three_axes("x", x, self.attention.dtype)
        x = part(without_padding(x, mask), look_at_itself)
        if self.cross is not None:
            x = part(x, look_at_memory)
        return part(x, self.feed_forward), found["so_far"], found.get("weights")


class Positions(Module):
    """A vector for each step, to be added to what is there: attention does not see the order.

    ``p_t,2i = sin(t / 10000^(2i / n))`` and ``p_t,2i+1 = cos(t / 10000^(2i / n))`` (Vaswani et al.,
    2017), or vectors that are learnt (Gehring et al., 2017).

    Parameters
    ----------
    n_features
        n; even for sines.
    learnt
        How many vectors are learnt: no sequence may be longer. Default: none, sines, for sequences
        of any length.
    rng
        Source of the first weights, N(0, 0.02^2), where they are learnt.
    name
        Prefix of the weights' name, ``W``.

    Raises
    ------
    ValueError
        If `n_features` is odd, or a number below 1; when the compiled function is called, if
        positions are learnt, and a sequence goes beyond them or begins before 0.

    Examples
    --------
    >>> Positions(4)(3).eval(mode="FAST_COMPILE").round(2)
    array([[ 0.  ,  1.  ,  0.  ,  1.  ],
           [ 0.84,  0.54,  0.01,  1.  ],
           [ 0.91, -0.42,  0.02,  1.  ]])
    """

    def __init__(
        self, n_features: int, n_learned: int | None = None, rng: Random | None = None
    ) -> None:
        check_whole("n_features", n_features)
        self.n_features, self.n_learned = n_features, n_learned
        self.dtype = pytensor.config.floatX  # like weights, that of the moment when it is made
        if n_learned is not None:
            check_whole("n_learned", n_learned)
            shape = (n_learned, n_features)
            self.W = parameter("W", shape, lambda r, s: normal(r, s, std=0.02), rng=rng)
        elif n_features % 2:
            raise ValueError(f"n_features is {n_features}, but sines and cosines need an even one")

    def __call__(self, steps: Any, first: Any = 0) -> TensorVariable:
        """Return the vectors of positions first, first + 1, ...: shape ``(steps, n_features)``."""
        t = pt.arange(first, first + steps)
        if self.n_learned is not None:
            fits = CheckAndRaise(
                ValueError,
                f"a sequence is longer than the {self.n_learned} positions that are learnt: cut it, "
                "make the model with more, or with sines (positions=None); or first is below 0",
            )
            return self.W[fits(t, pt.le(first + steps, self.n_learned), pt.ge(first, 0))]
        powers = 10000.0 ** (np.arange(0, self.n_features, 2) / self.n_features)
        angles = t[:, None] / powers
        sines = pt.stack([pt.sin(angles), pt.cos(angles)], axis=2)
        return sines.reshape((steps, self.n_features)).astype(self.dtype)
