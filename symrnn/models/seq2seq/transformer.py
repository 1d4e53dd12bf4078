"""The Transformer: sequence to sequence by attention alone, without recurrence."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.tensor.variable import TensorVariable

from symrnn.compiling.shapes import of_shape
from symrnn.models.seq2seq.encoder_decoder import EncoderDecoder
from symrnn.nn.layers import Dense, Dropout
from symrnn.nn.module import parameter
from symrnn.nn.transformer import Tokens, TransformerStack


class Encoded(NamedTuple):
    """What the decoder gets of a batch of sources."""

    memory: TensorVariable
    """m: the encoder's outputs, ``(positions, batch, n_features)``."""
    keys_values: list[TensorVariable]
    """What each decoder layer's cross-attention has computed of it,
    ``(positions, batch, 2 n_features)``."""
    mask: TensorVariable
    """Which source positions are valid, ``(positions, batch)``."""
    states: list[TensorVariable]
    """Keys and values of each decoder layer's self-attention, ``(steps, batch, 2 n_features)``,
    here of no step yet."""


class Transformer(EncoderDecoder):
    """Encoder and decoder of attention and feed-forward nets (Vaswani et al., 2017).

    ::

        x_j = D(sqrt(n) E_s[s_j] + p_j)        m = encoder(x)       attends to all positions of x
        z_t = D(sqrt(n) E_t[y_{t-1}] + p_t)    h = decoder(z, m)    attends to z_1 ... z_t, and to m
        p(y_t = i | y_1 ... y_{t-1}, s) = softmax(h_t W + b)_i

    p are positions, y_0 is a start token, and D is dropout in training. With norm "pre", m and h
    are normalised once more. `symrnn.Translator` gives the answers.

    Parameters
    ----------
    n_source, n_target
        Sizes of the vocabularies. The target's has a token that ends an answer; the start token is
        not among them.
    n_features
        n, the size of all vectors from the embedding to the output; even, for sines.
    n_heads
        Heads of the attention; the number must divide `n_features`.
    rng
        Source of the initial weights, and of dropout's masks.
    n_layers
        Number of layers of the encoder and of the decoder, at least 1.
    n_hidden
        Hidden units of the feed-forward nets. Default: 4 n.
    norm
        ``"pre"`` or ``"post"``, where the layers are normalised; see `symrnn.TransformerLayer`.
    activation
        Of the feed-forward nets: ``"relu"`` or ``"gelu"``.
    n_positions
        None: sines, for any length. A number: so many learned positions, for source and target
        each, and nothing longer can be read or written.
    tied
        True uses the target's embedding for the output too (weight tying: Press and Wolf, 2017).
    dropout
        Fraction of features dropped in training, within [0, 1): of the sums with the positions, and
        of the result of each part of a layer.

    Attributes
    ----------
    embed_source, embed_target : Tokens
        E_s and E_t with their positions; the last row of E_t is the start token's.
    encoder, decoder : TransformerStack
        With their ``layers``.
    output : Dense or None
        W and b. With tied weights there is only ``b``.
    start
        Id of the start token: `n_target`.

    Notes
    -----
    The graph has no loop, but thousands of operations. Mode QUICK, which calls NumPy for each,
    trains well. Mode NUMBA compiles all of them together: one layer takes two minutes, and two
    had taken 8 minutes and 7.8 GB of memory when we stopped it.

    Examples
    --------
    Two sequences of two tokens and their reversals, each ended by the token 2.

    >>> from symrnn.training.optimizers import adam
    >>> model = Transformer(3, 3, 8, 2, rng=np.random.default_rng(1), n_layers=1)
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.01))
    >>> source, target = np.array([[0, 1], [1, 0]]), np.array([[1, 0], [0, 1], [2, 2]])
    >>> batch = source, source > -1, target, target > -1  # token ids and masks, (time, batch)
    >>> losses = [float(step(*batch)) for _ in range(60)]
    >>> losses[0] > 1, losses[-1] < 0.05
    (True, True)
    """

    def __init__(
        self,
        n_source: int,
        n_target: int,
        n_features: int,
        n_heads: int,
        *,
        rng: Generator,
        n_layers: int = 2,
        n_hidden: int | None = None,
        norm: str = "pre",
        activation: str = "relu",
        n_positions: int | None = None,
        tied: bool = False,
        dropout: float = 0.0,
    ) -> None:
        self.n_source, self.n_target, self.n_features = n_source, n_target, n_features
        self.n_positions, self.tied = n_positions, tied
        self.embed_source = Tokens(n_source, n_features, rng=rng, n_positions=n_positions)
        self.embed_target = Tokens(n_target + 1, n_features, rng=rng, n_positions=n_positions)
        self.encoder, self.decoder = (
            TransformerStack(
                n_features, n_heads, n_hidden, rng=rng, n_layers=n_layers,
                cross_attention=cross_attention, norm=norm, activation=activation,
            )
            for cross_attention in (False, True)
        )  # fmt: skip
        self.output = None if tied else Dense(n_features, n_target, rng=rng)
        self.b = parameter("b", (n_target,), np.zeros(n_target)) if tied else None
        self.dropout = Dropout(dropout, rng=rng)
        self.decoder_inputs = ["mask", *(f"keys_values.{k}" for k in range(n_layers))]

    @property
    def has_attention(self) -> bool:
        """Whether a step returns weights of the source positions: always."""
        return True

    def encode(self, source: Any, mask: Any, *, training: bool = False) -> Encoded:
        """Read a batch of sources.

        Parameters
        ----------
        source
            Token ids, shape ``(positions, batch)``, integers.
        mask
            1 (or True) for a token, 0 for padding, of the same shape.
        training
            True applies dropout.

        Returns
        -------
        Encoded
            A named tuple of variables, which `logits` and `step` take.
        """
        drop = partial(self.dropout, training=training)
        memory, _, _ = self.encoder(drop(self.embed_source(source)), mask=mask, dropout=drop)
        keys_values, mask = self.decoder.keys_and_values(memory, mask=mask), pt.as_tensor(mask)
        zeros = partial(pt.zeros, dtype=memory.dtype)
        nothing = of_shape(zeros, (0, memory.shape[1], 2 * self.n_features))
        return Encoded(memory, keys_values, mask, [nothing for _ in keys_values])

    def logits(self, encoded: Encoded, target: Any, *, training: bool = False) -> TensorVariable:
        """Return h W + b of all steps, the decoder's inputs being the right tokens.

        Parameters
        ----------
        encoded
            What `encode` returned.
        target
            Token ids of the answers, shape ``(steps, batch)``, integers.
        training
            True applies dropout.

        Returns
        -------
        TensorVariable
            Shape ``(steps, batch, n_target)``.
        """
        x = self.embed_target(self.previous_tokens(pt.as_tensor_variable(target)))
        return self._decode(x, encoded, training=training)[0]

    def step(
        self, tokens: Any, states: Sequence[Any], encoded: Encoded
    ) -> tuple[TensorVariable, TensorVariable, list[TensorVariable]]:
        """Return logits ``(batch, n_target)``, attention weights and the next states.

        Parameters
        ----------
        tokens
            The previous output tokens, shape ``(batch,)``; at first `start`.
        states
            Keys and values of the steps before, of each decoder layer, ``(steps, batch, 2 n)``; at
            first ``encoded.states``.
        encoded
            What `encode` returned.

        Returns
        -------
        logits, weights, states
            The weights of the source positions, ``(batch, positions)``, are those of the last
            layer, a mean over its heads.
        """
        x = self.embed_target(pt.as_tensor_variable(tokens)[None], first=states[0].shape[0])
        logits, states, weights = self._decode(x, encoded, states)
        return logits[0], weights[0].mean(axis=1), states

    def _decode(
        self, x: Any, encoded: Encoded, past: Any = None, *, training: bool = False
    ) -> tuple[TensorVariable, list[TensorVariable], Any]:
        drop = partial(self.dropout, training=training)
        h, states, weights = self.decoder(
            drop(x), causal=True, memory=encoded.keys_values, memory_mask=encoded.mask,
            past=past, dropout=drop,
        )  # fmt: skip
        if self.output is not None:
            return self.output(h), states, weights
        return self.embed_target.scores(h)[:, :, :-1] + self.b, states, weights

    def _get_inputs(self, encoded: Encoded) -> list[TensorVariable]:
        return [encoded.mask, *encoded.keys_values]

    def _set_inputs(self, encoded: Encoded, inputs: Sequence[TensorVariable]) -> Encoded:
        mask, *keys_values = inputs
        return encoded._replace(mask=mask, keys_values=keys_values)

    def _state_inputs(self, batch: int | None) -> tuple[list[TensorVariable], list[Any]]:
        names = [f"past.{k}" for k in range(len(self.decoder.layers))]
        dtype = self.params[0].dtype
        arrays = [pt.tensor(name, dtype=dtype, shape=(batch, None, None)) for name in names]
        return arrays, self._state_arrays(arrays)

    def _state_arrays(self, states: Sequence[Any]) -> list[TensorVariable]:
        return [s.transpose(1, 0, 2) for s in states]
