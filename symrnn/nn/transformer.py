"""The parts of a Transformer: layers around multi-head attention, positions, vectors of tokens.

No layer here has a loop: all steps of a sequence are computed at once. Arrays are time-major,
``(time, batch, features)``; in a mask 1 (or True) stands for a valid step, 0 for padding.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_choice, check_sizes, check_whole
from symrnn.nn.initializers import Random, normal
from symrnn.nn.layers import Dense, Embedding, LayerNorm
from symrnn.nn.module import Module, parameter
from symrnn.nn.multi_head import MultiHeadAttention, three_axes, without_padding

ACTIVATIONS: dict[str, Callable[[TensorVariable], TensorVariable]] = {
    "relu": lambda x: pt.maximum(x, 0),
    "gelu": lambda x: x * (1 + pt.erf(x * np.asarray(np.sqrt(0.5), dtype=x.dtype))) / 2,
}
"""``max(x, 0)``, and x times the normal distribution function (Hendrycks and Gimpel, 2016)."""

NORMS = ("pre", "post")
"""Where a layer is normalised: before each part, or after its residual connection."""

Drop = Callable[[TensorVariable], TensorVariable]
"""Dropout as a function of x alone."""

PAST_FITS = CheckAndRaise(
    ValueError,
    "past does not fit x: it must be what an earlier call of the layer returned for the same "
    "batch, (steps, batch, 2 n_features)",
)


def no_dropout(x: TensorVariable) -> TensorVariable:
    """Return x: what layers do with it at inference."""
    return x


class FeedForward(Module):
    """A net with one hidden layer, the same at each step: ``y = f(x W_1 + b_1) W_2 + b_2``.

    Parameters
    ----------
    n_features
        Features of x and of y.
    n_hidden
        Hidden units.
    rng
        Source of the initial weights.
    activation
        f: ``"relu"`` or ``"gelu"``.

    Attributes
    ----------
    hidden, output : Dense
        With the weights W_1 and b_1, W_2 and b_2.

    Examples
    --------
    >>> net = FeedForward(4, 16, rng=np.random.default_rng(1), activation="gelu")
    >>> net(np.ones((5, 2, 4))).eval(mode="FAST_COMPILE").shape
    (5, 2, 4)
    """

    def __init__(
        self, n_features: int, n_hidden: int, *, rng: Random, activation: str = "relu"
    ) -> None:
        check_sizes(n_features=n_features, n_hidden=n_hidden)
        check_choice("activation", activation, ACTIVATIONS)
        self.hidden = Dense(n_features, n_hidden, rng=rng)
        self.output = Dense(n_hidden, n_features, rng=rng)
        self.activation = ACTIVATIONS[activation]

    def __call__(self, x: Any) -> TensorVariable:
        """Return y, of the shape of x."""
        return self.output(self.activation(self.hidden(x)))


class TransformerLayer(Module):
    """Self-attention, in a decoder cross-attention to a memory, and a feed-forward net.

    Each of these parts f has a residual connection and a layer normalisation::

        x + D(f(norm(x)))    norm "pre" (Baevski and Auli, 2019; Xiong et al., 2020)
        norm(x + D(f(x)))    norm "post" (Vaswani et al., 2017)

    D is dropout. With "pre" the last layer's outputs need one more normalisation, which is no part
    of the layer. "pre" trains easily; "post" needs a learning rate that starts small.

    Parameters
    ----------
    n_features
        Features of x and of y.
    n_heads
        Heads of the attention; the number must divide `n_features`.
    n_hidden
        Hidden units of the feed-forward net.
    rng
        Source of the initial weights.
    cross_attention
        True makes a decoder's layer, which attends to an encoder's outputs too.
    norm
        ``"pre"`` or ``"post"``.
    activation
        Of the feed-forward net: ``"relu"`` or ``"gelu"``.

    Attributes
    ----------
    self_attention : MultiHeadAttention
    cross_attention : MultiHeadAttention or None
    feed_forward : FeedForward
        The parts.
    norms : list of LayerNorm
        One for each part, in order.

    Examples
    --------
    >>> layer = TransformerLayer(4, 2, 16, rng=np.random.default_rng(1))
    >>> y, keys_values, _ = layer(np.ones((5, 2, 4)), causal=True)
    >>> y.eval(mode="FAST_COMPILE").shape, keys_values.eval(mode="FAST_COMPILE").shape
    ((5, 2, 4), (5, 2, 8))
    """

    def __init__(
        self,
        n_features: int,
        n_heads: int,
        n_hidden: int,
        *,
        rng: Random,
        cross_attention: bool = False,
        norm: str = "pre",
        activation: str = "relu",
    ) -> None:
        check_choice("norm", norm, NORMS)
        self.norm = norm
        self.self_attention = MultiHeadAttention(n_features, n_heads, rng=rng)
        self.cross_attention: MultiHeadAttention | None = None
        if cross_attention:
            self.cross_attention = MultiHeadAttention(n_features, n_heads, rng=rng)
        self.feed_forward = FeedForward(n_features, n_hidden, rng=rng, activation=activation)
        self.norms = [LayerNorm(n_features) for _ in range(3 if cross_attention else 2)]

    def __call__(
        self,
        x: Any,
        *,
        mask: Any = None,
        causal: bool = False,
        memory: Any = None,
        memory_mask: Any = None,
        past: Any = None,
        dropout: Drop = no_dropout,
    ) -> tuple[TensorVariable, TensorVariable, TensorVariable | None]:
        """Return the outputs, keys and values of all steps so far, and cross-attention's weights.

        Parameters
        ----------
        x
            Shape ``(steps, batch, n_features)``.
        mask
            Which steps are valid, shape ``(steps, batch)``, 1 or 0. Not together with `past`.
        causal
            True lets no step attend to a later one.
        memory
            For a layer with cross-attention: what ``cross_attention.keys_and_values`` returned for
            the encoder's outputs, shape ``(positions, batch, 2 n_features)``.
        memory_mask
            Which positions of it are valid, shape ``(positions, batch)``.
        past
            Keys and values of the steps before those of x (a key-value cache), as an earlier call
            returned them; they may have no step yet.
        dropout
            D, for example ``lambda y: dropout(y, training=True)``; default: none.

        Returns
        -------
        y : TensorVariable
            Shape ``(steps, batch, n_features)``.
        keys_values : TensorVariable
            `past` followed by keys and values of x, shape ``(all steps, batch, 2 n_features)``.
        weights : TensorVariable or None
            Of the cross-attention, shape ``(steps, batch, n_heads, positions)``.
        """
        if (memory is None) != (self.cross_attention is None):
            raise ValueError(
                "this layer was made with cross_attention=True and needs a memory"
                if self.cross_attention is not None
                else "this layer attends to no memory: make it with cross_attention=True"
            )
        if past is not None and mask is not None:
            raise ValueError(
                "mask and past cannot be given together: steps that follow a past are all valid"
            )

        def part(k: int, x: TensorVariable, f: Callable[[TensorVariable], Any]) -> Any:
            pre, norm = self.norm == "pre", self.norms[k]
            y, found = f(norm(x) if pre else x)
            y = x + dropout(y)
            return (y if pre else norm(y)), found

        def self_attention(x: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
            keys_values = _appended(past, self.self_attention.keys_and_values(x))
            y, _ = self.self_attention(x, mask=mask, causal=causal, keys_values=keys_values)
            return y, keys_values

        x = without_padding(three_axes("x", x, self.self_attention.dtype), mask)
        x, keys_values = part(0, x, self_attention)
        weights = None
        if self.cross_attention is not None:
            cross_attention = partial(self.cross_attention, mask=memory_mask, keys_values=memory)
            x, weights = part(1, x, cross_attention)
        y, _ = part(-1, x, lambda x: (self.feed_forward(x), None))
        return y, keys_values, weights


def _appended(past: Any, now: TensorVariable) -> TensorVariable:
    """Keys and values of earlier steps, and after them those of the steps now."""
    if past is None:
        return now
    past = three_axes("past", past, now.dtype)
    same = (pt.eq(past.shape[k], now.shape[k]) for k in (1, 2))
    return pt.concatenate([PAST_FITS(past, *same), now], axis=0)


class TransformerStack(Module):
    """Transformer layers on top of each other: an encoder, or a decoder.

    With norm "pre" the outputs of the last layer are normalised once more.

    Parameters
    ----------
    n_features
        Features of x and of y.
    n_heads
        Heads of the attention; the number must divide `n_features`.
    n_hidden
        Hidden units of the feed-forward nets. Default: ``4 n_features``.
    rng
        Source of the initial weights.
    n_layers
        Number of layers, at least 1.
    cross_attention
        True lets the layers attend to an encoder's outputs too.
    norm
        ``"pre"`` or ``"post"``, see `symrnn.TransformerLayer`.
    activation
        Of the feed-forward nets: ``"relu"`` or ``"gelu"``.

    Attributes
    ----------
    layers : list of TransformerLayer
        From the bottom up.
    norm : LayerNorm or None
        The last normalisation, with norm "pre".

    Examples
    --------
    >>> encoder = TransformerStack(4, 2, rng=np.random.default_rng(1), n_layers=2)
    >>> y, _, _ = encoder(np.ones((5, 3, 4)))
    >>> y.eval(mode="FAST_COMPILE").shape
    (5, 3, 4)
    """

    def __init__(
        self,
        n_features: int,
        n_heads: int,
        n_hidden: int | None = None,
        *,
        rng: Random,
        n_layers: int = 2,
        cross_attention: bool = False,
        norm: str = "pre",
        activation: str = "relu",
    ) -> None:
        check_whole("n_layers", n_layers)
        self.n_features = n_features
        self.layers = [
            TransformerLayer(
                n_features, n_heads, 4 * n_features if n_hidden is None else n_hidden, rng=rng,
                cross_attention=cross_attention, norm=norm, activation=activation,
            )
            for _ in range(n_layers)
        ]  # fmt: skip
        self.norm = LayerNorm(n_features) if norm == "pre" else None

    def keys_and_values(self, memory: Any, *, mask: Any = None) -> list[TensorVariable]:
        """Return what the cross-attention of each layer computes of a memory once.

        Parameters
        ----------
        memory
            An encoder's outputs, shape ``(positions, batch, n_features)``.
        mask
            Which positions are valid, shape ``(positions, batch)``.
        """
        attentions = [layer.cross_attention for layer in self.layers]
        return [a.keys_and_values(memory, mask=mask) for a in attentions if a is not None]

    def __call__(
        self,
        x: Any,
        *,
        mask: Any = None,
        causal: bool = False,
        memory: Sequence[Any] | None = None,
        memory_mask: Any = None,
        past: Sequence[Any] | None = None,
        dropout: Drop = no_dropout,
    ) -> tuple[TensorVariable, list[TensorVariable], TensorVariable | None]:
        """Return the outputs, keys and values of all steps so far, and cross-attention's weights.

        Parameters
        ----------
        x
            Shape ``(steps, batch, n_features)``.
        mask
            Which steps are valid, shape ``(steps, batch)``, 1 or 0. Not together with `past`.
        causal
            True lets no step attend to a later one.
        memory
            For layers with cross-attention: what `keys_and_values` returned.
        memory_mask
            Which positions of the memory are valid, shape ``(positions, batch)``.
        past
            For each layer keys and values of the steps before those of x, as an earlier call
            returned them.
        dropout
            Applied to the result of each part of a layer; default: none.

        Returns
        -------
        y : TensorVariable
            Shape ``(steps, batch, n_features)``.
        keys_values : list of TensorVariable
            For each layer, shape ``(all steps, batch, 2 n_features)``.
        weights : TensorVariable or None
            Of the last layer's cross-attention, shape ``(steps, batch, n_heads, positions)``.
        """
        keys_values, weights = [], None
        for k, layer in enumerate(self.layers):
            x, of_layer, weights = layer(
                x, mask=mask, causal=causal, memory=None if memory is None else memory[k],
                memory_mask=memory_mask, past=None if past is None else past[k], dropout=dropout,
            )  # fmt: skip
            keys_values.append(of_layer)
        return x if self.norm is None else self.norm(x), keys_values, weights


class Positions(Module):
    """A vector for each position, to be added to the input: attention does not see the order.

    Sines and cosines (Vaswani et al., 2017), or learned vectors (Gehring et al., 2017)::

        p_t,2i = sin(t / 10000^(2i / n))        p_t,2i+1 = cos(t / 10000^(2i / n))
        p_t    = W[t]

    Parameters
    ----------
    n_features
        n, size of a vector; even for sines.
    n_learned
        Number of learned positions: no sequence may be longer. Default: none, but sines, for
        sequences of any length.
    rng
        Source of the initial weights, N(0, 0.02^2), of learned positions.

    Raises
    ------
    ValueError
        When the compiled function is called: if a sequence is longer than the learned positions.

    Examples
    --------
    >>> Positions(4)(3).eval(mode="FAST_COMPILE").round(2)
    array([[ 0.  ,  1.  ,  0.  ,  1.  ],
           [ 0.84,  0.54,  0.01,  1.  ],
           [ 0.91, -0.42,  0.02,  1.  ]])
    """

    def __init__(
        self, n_features: int, *, n_learned: int | None = None, rng: Random | None = None
    ) -> None:
        check_sizes(n_features=n_features)
        self.n_features, self.n_learned = n_features, n_learned
        self.dtype = pytensor.config.floatX  # like weights, that of the moment when it is made
        if n_learned is not None:
            check_whole("n_learned", n_learned)
            initial = partial(normal, std=0.02)
            self.W = parameter("W", (n_learned, n_features), initial, rng=rng)
        elif n_features % 2:
            raise ValueError(f"n_features is {n_features}, but sines and cosines need an even one")

    def __call__(self, steps: Any, *, first: Any = 0) -> TensorVariable:
        """Return the vectors of positions first, first + 1, ...: shape ``(steps, n_features)``."""
        t = pt.arange(first, first + steps)
        if self.n_learned is not None:
            fits = CheckAndRaise(
                ValueError,
                f"a sequence is longer than the {self.n_learned} learned positions: cut it, make "
                "the model with more, or with sines (n_positions=None); or first is below 0",
            )
            return self.W[fits(t, pt.le(first + steps, self.n_learned), pt.ge(first, 0))]
        powers = 10000.0 ** (np.arange(0, self.n_features, 2) / self.n_features)
        angles = t[:, None] / powers
        sines = pt.stack([pt.sin(angles), pt.cos(angles)], axis=2)
        return sines.reshape((steps, self.n_features)).astype(self.dtype)


class Tokens(Module):
    """Vectors of tokens at their positions: ``x_t = sqrt(n) E[token_t] + p_t``.

    Parameters
    ----------
    n_tokens
        Size of the vocabulary.
    n_features
        n, size of a vector. E starts with values of N(0, 1 / n).
    rng
        Source of the initial weights.
    n_positions
        Number of learned positions; default: none, but sines.

    Attributes
    ----------
    embedding : Embedding
        E.
    positions : Positions
        p.

    Examples
    --------
    >>> tokens = Tokens(10, 4, rng=np.random.default_rng(1))
    >>> tokens(np.array([[3, 1], [2, 2]])).eval(mode="FAST_COMPILE").shape  # of (time, batch)
    (2, 2, 4)
    """

    def __init__(
        self, n_tokens: int, n_features: int, *, rng: Random, n_positions: int | None = None
    ) -> None:
        check_sizes(n_tokens=n_tokens, n_features=n_features)
        initial = partial(normal, std=n_features**-0.5)
        self.embedding = Embedding(n_tokens, n_features, rng=rng, W=initial)
        self.positions = Positions(n_features, n_learned=n_positions, rng=rng)

    def __call__(self, tokens: Any, *, first: Any = 0) -> TensorVariable:
        """Return the vectors ``(steps, batch, n_features)`` of tokens from position `first` on."""
        tokens = pt.as_tensor_variable(tokens)
        if tokens.ndim != 2:
            raise ValueError(
                f"the tokens have {tokens.ndim} axes, but must have two, (time, batch)"
            )
        e = self.embedding(tokens)
        scale = np.asarray(np.sqrt(self.positions.n_features), dtype=e.dtype)
        return scale * e + self.positions(tokens.shape[0], first=first)[:, None]

    def scores(self, h: TensorVariable) -> TensorVariable:
        """Return ``h E^T``, the logits of tied weights, shape ``(steps, batch, n_tokens)``."""
        steps, batch, n = h.shape
        E = self.embedding.W
        return (h.reshape((steps * batch, n)) @ E.T).reshape((steps, batch, E.shape[0]))
