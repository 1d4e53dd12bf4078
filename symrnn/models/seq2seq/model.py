"""Sequence to sequence with recurrent nets: one reads the source, another writes the target."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_sizes
from symrnn.models.seq2seq.encoder_decoder import EncoderDecoder
from symrnn.models.seq2seq.recurrent import Encoded, RecurrentDecoder, RecurrentEncoder
from symrnn.nn.cells import Cell, LSTMCell
from symrnn.nn.initializers import Initializer, normal
from symrnn.nn.layers import Dropout, Embedding

LARGE = partial(normal, std=1.0)
"""Initializer N(0, 1) of embeddings: models learn faster with it than with smaller values."""


class Seq2Seq(EncoderDecoder):
    """Encoder and decoder (Sutskever et al., 2014; Cho et al., 2014), with attention if wanted.

    ::

        m_j, v  = encoder(D(E_s[s_1]) ... D(E_s[s_J]))      all outputs, and the last h
        x_t     = D(E_t[y_{t-1}])                           y_0 is a start token
        x_t     = [x_t, v]                                  if peeky
        x_t     = [x_t, a_t]  a_t = attention(h_{t-1}, m)   with context_to "input" or "both"
        h_t     = decoder(x_t, h_{t-1})                     h_0: the encoder's last state
        o_t     = D(h_t)
        o_t     = [o_t, v]                                  if peeky
        o_t     = [o_t, a_t]                                with context_to "both"
        o_t     = [o_t, a_t]  a_t = attention(h_t, m)       with context_to "output"
        p(y_t = i | y_1 ... y_{t-1}, s) = softmax(o_t W + b)_i

    Encoder and decoder have the same number of layers; each decoder layer starts in the last state
    of its encoder layer. D is dropout in training, and the identity at inference.
    `symrnn.Translator` gives the answers.

    Parameters
    ----------
    n_source, n_target
        Sizes of the vocabularies. The target's has a token that ends an answer; the start token is
        not among them.
    n_embed
        Embedding size: how many features the vector of a token has.
    n_hidden
        Units of each layer.
    rng
        Source of the initial weights, and of the masks and draws of training.
    n_layers
        Number of layers of the encoder and of the decoder, at least 1.
    cell
        Makes a layer's cell: a class such as `symrnn.GRUCell`, or any function
        ``(n_in, n_hidden, *, rng) -> cell``.
    bidirectional
        True lets the encoder read in both directions (Schuster and Paliwal, 1997), each with half
        of the units.
    reverse
        True lets the encoder read from the end (Sutskever et al., 2014).
    residual
        True adds a layer's input to its outputs, where both are equally wide (He et al., 2016; Wu
        et al., 2016), so that deep nets learn. h_t in o_t, and in attention after a step, is then
        this sum; in attention before a step it is the top cell's state.
    peeky
        True shows v to the decoder at every step, in its cell and its output (Cho et al., 2014).
    attention
        None, or a score of `symrnn.Attention`: ``"dot"``, ``"scaled"``, ``"general"`` or
        ``"additive"``.
    context_to
        Where the context a_t goes. ``"output"``: the query is the state after a step (Luong et al.,
        2015). ``"input"`` and ``"both"``: it is the state before (Bahdanau et al., 2015). These two
        need a loop with the attention in it: they train more slowly, and in mode NUMBA they take
        minutes to compile for the first time.
    dropout
        Fraction of features dropped in training, within [0, 1).
    W_embed
        Initializer of the embeddings, from `symrnn.initializers`. Default: N(0, 1), with which
        models learn faster than with smaller values.

    Attributes
    ----------
    embed_source, embed_target : Embedding
        E_s and E_t; the last row of E_t is the start token's.
    encoder : RecurrentEncoder
        With its ``layers``.
    decoder : RecurrentDecoder
        With its ``layers``, ``attention`` and ``output``.
    start
        Id of the start token: `n_target`.

    Examples
    --------
    Two sequences of two tokens and their reversals, each ended by the token 2.

    >>> import numpy as np
    >>> from symrnn.training.optimizers import adam
    >>> model = Seq2Seq(3, 3, 4, 16, rng=np.random.default_rng(1), attention="dot")
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.03))
    >>> source, target = np.array([[0, 1], [1, 0]]), np.array([[1, 0], [0, 1], [2, 2]])
    >>> batch = source, source > -1, target, target > -1  # token ids and masks, (time, batch)
    >>> losses = [float(step(*batch)) for _ in range(40)]
    >>> losses[0] > 1, losses[-1] < 0.05
    (True, True)
    """

    def __init__(
        self,
        n_source: int,
        n_target: int,
        n_embed: int,
        n_hidden: int,
        *,
        rng: Generator,
        n_layers: int = 1,
        cell: Callable[..., Cell] = LSTMCell,
        bidirectional: bool = False,
        reverse: bool = False,
        residual: bool = False,
        peeky: bool = False,
        attention: str | None = None,
        context_to: str = "output",
        dropout: float = 0.0,
        W_embed: Initializer = LARGE,
    ) -> None:
        check_sizes(n_source=n_source, n_target=n_target, n_embed=n_embed, n_hidden=n_hidden)
        if not callable(cell):
            raise TypeError(f"cell is {cell!r}, but must be a class such as LSTMCell")
        self.n_source, self.n_target, self.n_hidden = n_source, n_target, n_hidden
        self.dropout = Dropout(dropout, rng=rng)
        self.embed_source = Embedding(n_source, n_embed, rng=rng, W=W_embed)
        self.embed_target = Embedding(n_target + 1, n_embed, rng=rng, W=W_embed)
        self.encoder = RecurrentEncoder(
            n_embed, n_hidden, rng=rng, n_layers=n_layers, cell=cell, bidirectional=bidirectional,
            reverse=reverse, residual=residual,
        )  # fmt: skip
        self.decoder = RecurrentDecoder(
            self.embed_target, n_hidden, dropout=self.dropout, rng=rng, n_layers=n_layers,
            cell=cell, residual=residual, peeky=peeky, attention=attention, context_to=context_to,
        )  # fmt: skip
        self.decoder_inputs = self.decoder.inputs

    @property
    def has_attention(self) -> bool:
        """Whether a step returns weights of the source positions."""
        return self.decoder.attention is not None

    def encode(self, source: Any, mask: Any, *, training: bool = False) -> Encoded:
        """Read a batch of sources.

        Parameters
        ----------
        source
            Token ids, shape ``(positions, batch)``, integers.
        mask
            1 (or True) for a token, 0 for padding after it, of the same shape. Each source has at
            least one token.
        training
            True applies dropout.

        Returns
        -------
        Encoded
            A named tuple of variables, which `logits` and `step` take.
        """
        drop = partial(self.dropout, training=training)
        x = drop(self.embed_source(_not_empty(source, "source (positions, batch)")))
        memory, states = self.encoder(x, mask=mask, between=drop)
        keys, attention = None, self.decoder.attention
        if attention is not None and "keys" in self.decoder_inputs:
            keys = attention.keys(memory)
        return Encoded(states, states[-1][0], memory, keys, pt.as_tensor_variable(mask))

    def logits(
        self,
        encoded: Encoded,
        target: Any,
        *,
        training: bool = False,
        sampling_probability: Any = None,
    ) -> TensorVariable:
        """Return o W + b of all steps, the decoder's inputs being the right tokens.

        Parameters
        ----------
        encoded
            What `encode` returned.
        target
            Token ids of the answers, shape ``(steps, batch)``, integers.
        training
            True applies dropout.
        sampling_probability
            None, or the probability, within [0, 1], with which a decoder input is not the right
            token but a draw from the decoder's own output of the step before (scheduled sampling:
            Bengio et al., 2015): a number or a shared variable. It needs a loop with the output in
            it.

        Returns
        -------
        TensorVariable
            Shape ``(steps, batch, n_target)``.
        """
        p = sampling_probability
        if isinstance(p, int | float) and not 0 <= p <= 1:
            raise ValueError(f"sampling_probability is {p}, but must be within [0, 1]")
        tokens = self.previous_tokens(_not_empty(target, "target (steps, batch)"))
        return self.decoder.logits(tokens, encoded, training=training, sampling_probability=p)

    def step(
        self, tokens: Any, states: Sequence[Any], encoded: Encoded
    ) -> tuple[TensorVariable, TensorVariable | None, list[Any]]:
        """Return logits ``(batch, n_target)``, attention weights and the next states.

        Parameters
        ----------
        tokens
            The previous output tokens, shape ``(batch,)``; at first `start`.
        states
            The state of each decoder layer; at first ``encoded.states``.
        encoded
            What `encode` returned.
        """
        return self.decoder.step(tokens, states, encoded)

    def _state_inputs(self, batch: int | None) -> tuple[list[TensorVariable], list[Any]]:
        shape = batch, None if batch is None else self.n_hidden
        arrays = [
            pt.tensor(name, dtype=cell.W_h.dtype, shape=shape)
            for cell in self.decoder.layers
            for name in cell.State._fields  # type: ignore[attr-defined]
        ]
        return arrays, self.decoder.states_of(arrays)

    def _state_arrays(self, states: Sequence[Any]) -> list[TensorVariable]:
        return [s for state in states for s in state]


def _not_empty(tokens: Any, name: str) -> TensorVariable:
    tokens = pt.as_tensor_variable(tokens)
    check = CheckAndRaise(ValueError, f"{name} is empty, but must have at least one token")
    return check(tokens, pt.gt(tokens.size, 0))
