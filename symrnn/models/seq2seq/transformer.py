"""The Transformer: sequence to sequence by attention alone, without recurrence."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_whole
from symrnn.compiling.function import function
from symrnn.compiling.modes import QUICK
from symrnn.models.seq2seq.model import pair_variables
from symrnn.nn.initializers import normal
from symrnn.nn.layers import Dense, Dropout, Embedding, LayerNorm
from symrnn.nn.module import Module, parameter
from symrnn.nn.transformer import Drop, Positions, TransformerLayer
from symrnn.training.losses import categorical_cross_entropy
from symrnn.training.optimizers import Optimizer


class Encoded(NamedTuple):
    """What the decoder gets to know of a batch of sources."""

    memory: TensorVariable
    """The encoder's outputs, ``(places, batch, n_features)``."""
    keys_values: list[TensorVariable]
    """What each decoder layer's attention has computed of it, ``(places, batch, 2 n_features)``."""
    mask: TensorVariable
    """Which places there are, ``(places, batch)``."""


class Transformer(Module):
    """Encoder and decoder of attention and feed-forward nets (Vaswani et al., 2017).

    ::

        x_j = D(sqrt(n) E_s[s_j] + p_j)        m = encoder layers(x)     each looks at all places
        y_t = D(sqrt(n) E_t[y_{t-1}] + p_t)    h = decoder layers(y, m)  each looks at y_1 ... y_t,
                                                                         and at all of m
        p(y_t = i | y_1 ... y_{t-1}, s) = softmax(h_t W + b)_i

    p are positions, y_0 is a start token of its own, and D is dropout in training. Where norm is
    "pre", m and h are normalised once more. The methods are those of
    `symrnn.models.seq2seq.model.Seq2Seq`, and `symrnn.models.seq2seq.translation.Translator` gives the answers.

    Parameters
    ----------
    n_source, n_target
        Sizes of the vocabularies. The target's has a token that ends an answer; the start token is
        none of them.
    n_features, n_heads
        n, how long a vector is all the way through, even; and the heads that share it.
    rng
        Source of the initial weights, and of the masks' seeds.
    n_layers
        How many layers encoder and decoder have, at least 1.
    n_hidden
        Units of the feed-forward nets. Default: 4 n.
    norm, activation
        As for `symrnn.nn.transformer.TransformerLayer`.
    positions
        None: sines, for any length. A number: so many positions are learnt, for source and target
        each, and nothing longer can be read or written.
    tied
        True takes the target's embedding for the output too (Press and Wolf, 2017).
    dropout
        Which part of the features is left out in training, within [0, 1): of the sums with the
        positions, and of the result of each part of a layer.

    Attributes
    ----------
    params
        All weights, in order.
    encoder, decoder
        The layers.
    start
        Number of the start token: `n_target`.
    known
        Names of what the decoder needs of a source: its mask, and keys and values of each layer.

    Raises
    ------
    ValueError
        If a size is below 1, `n_heads` does not divide `n_features`, or an option is not as said.

    Examples
    --------
    >>> from symrnn.compiling.modes import QUICK
    >>> from symrnn.training.optimizers import adam
    >>> model = Transformer(3, 3, 8, 2, np.random.default_rng(1), n_layers=1)
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.01),
    ...                               mode=QUICK)
    >>> source, target = np.array([[0, 1], [1, 0]]), np.array([[1, 0], [0, 1], [2, 2]])  # reversed
    >>> batch = source, source > -1, target, target > -1  # tokens and masks, (time, batch)
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
        rng: Generator,
        n_layers: int = 2,
        n_hidden: int | None = None,
        norm: str = "pre",
        activation: str = "relu",
        positions: int | None = None,
        tied: bool = False,
        dropout: float = 0.0,
    ) -> None:
        check_whole("n_layers", n_layers)
        n_hidden = 4 * n_features if n_hidden is None else n_hidden
        self.positions = positions
        self.n_source, self.n_target, self.n_features = n_source, n_target, n_features
        self.tied, self.start = tied, n_target
        self.source = Tokens(n_source, n_features, positions, rng)
        self.target = Tokens(n_target + 1, n_features, positions, rng)

        def layer(memory: bool) -> TransformerLayer:
            return TransformerLayer(
                n_features,
                n_heads,
                n_hidden,
                rng=rng,
                memory=memory,
                norm=norm,
                activation=activation,
            )

        self.encoder = [layer(memory=False) for k in range(n_layers)]
        self.decoder = [layer(memory=True) for k in range(n_layers)]
        pre = norm == "pre"
        self.encoder_norm = LayerNorm(n_features) if pre else None
        self.decoder_norm = LayerNorm(n_features) if pre else None
        self.output = None if tied else Dense(n_features, n_target, rng=rng)
        self.b = parameter("b", (n_target,), np.zeros(n_target)) if tied else None
        self.known = ["mask", *(f"keys_values{k + 1}" for k in range(n_layers))]
        self.dropout = Dropout(dropout, rng=rng)

    def encode(self, source: Any, mask: Any, training: bool = False) -> Encoded:
        """Read a batch of sources.

        Parameters
        ----------
        source
            Tokens, shape ``(places, batch)``, integers.
        mask
            1 (or True) for a token, 0 for padding, of the same shape.
        training
            Whether dropout is at work; then compile with ``model.noise.updates``.

        Raises
        ------
        TypeError, ValueError
            If the tokens are no integers, there is no such token or no position for it, the mask
            does not fit, or a source is empty: as far as that is not known yet, when the compiled
            function is called.
        """
        drop = self._drop(training)
        x = drop(self.source(source))
        for layer in self.encoder:
            x, _, _ = layer(x, mask, drop=drop)
        memory = x if self.encoder_norm is None else self.encoder_norm(x)
        found = [layer.cross.keys_values(memory, mask) for layer in self.decoder if layer.cross]
        return Encoded(memory, found, pt.as_tensor_variable(mask))

    def logits(self, encoded: Encoded, target: Any, training: bool = False) -> TensorVariable:
        """Return h W + b of all steps, the decoder being given the right tokens before each.

        Parameters
        ----------
        encoded
            What `encode` returned.
        target
            The answers, shape ``(steps, batch)``, integers.
        training
            Whether dropout is at work.

        Returns
        -------
        TensorVariable
            Shape ``(steps, batch, n_target)``.
        """
        target = pt.as_tensor_variable(target)
        given = pt.concatenate([pt.full_like(target[:1], self.start), target[:-1]])
        return self._decode(self.target(given), encoded, drop=self._drop(training))[0]

    def step(
        self, tokens: Any, states: list[Any], encoded: Encoded
    ) -> tuple[TensorVariable, TensorVariable, list[TensorVariable]]:
        """Return logits ``(batch, n_target)``, weights and keys and values of all steps so far.

        Parameters
        ----------
        tokens
            What was said last, ``(batch,)``; at first `start`.
        states
            Keys and values of the steps before, of each decoder layer, ``(steps, batch, 2 n)``.
        encoded
            What `encode` returned.

        Returns
        -------
        logits, weights, states
            The weights are where the last layer has looked in the source, ``(batch, places)``, a
            mean over its heads.
        """
        x = self.target(pt.as_tensor_variable(tokens)[None], first=states[0].shape[0])
        logits, weights, states = self._decode(x, encoded, states)
        return logits[0], weights[0].mean(axis=1), states

    def _decode(
        self, x: Any, encoded: Encoded, states: Any = None, drop: Drop = lambda y: y
    ) -> tuple[TensorVariable, TensorVariable, list[TensorVariable]]:
        x, after, weights = drop(x), [], None
        states = [None] * len(self.decoder) if states is None else states
        for layer, memory, past in zip(self.decoder, encoded.keys_values, states, strict=True):
            x, so_far, weights = layer(
                x, causal=True, memory=memory, memory_mask=encoded.mask, past=past, drop=drop
            )
            after.append(so_far)
        h = x if self.decoder_norm is None else self.decoder_norm(x)
        logits = (
            self.target.scores(h)[:, :, :-1] + self.b if self.output is None else self.output(h)
        )
        return logits, weights, after

    def _drop(self, training: bool) -> Drop:
        rate = self.dropout.rate if training else 0.0
        return lambda x: self.dropout(x, training=True) if rate else x

    def loss(
        self, source: Any, source_mask: Any, target: Any, target_mask: Any, training: bool = False
    ) -> TensorVariable:
        """Return the mean cross-entropy of all real tokens of the answers, in nats.

        Parameters
        ----------
        source, source_mask
            As for `encode`.
        target, target_mask
            The answers, each with the token that ends it, shape ``(steps, batch)``; and 1 for a
            token, 0 for padding after it.
        training
            Whether dropout is at work.

        Raises
        ------
        TypeError, ValueError
            As for `encode`; or if source and target differ in their batch.
        """
        logits = self.logits(self.encode(source, source_mask, training), target, training)
        loss = categorical_cross_entropy(logits, target, mask=target_mask)
        loss.name = "loss"
        return loss

    def compile_training(self, optimizer: Optimizer, mode: Any = QUICK) -> Any:
        """Compile a step of training, ``(source, source_mask, target, target_mask) -> loss``.

        The tokens are int64 arrays, the masks bool (``mask == 1`` makes one of numbers), each
        ``(time, batch)``, such as `symrnn.text.pair_batches` gives.

        Parameters
        ----------
        optimizer
            A function (loss, params) -> updates, for example
            ``lambda loss, params: adam(loss, params, 0.003)``.
        mode
            As for `pytensor.function`; not its default. The graph has no loop, but thousands of
            operations, and `symrnn.compiling.modes.QUICK`, which calls NumPy for each, trains well. Mode
            NUMBA compiles them in one piece: one layer takes some two minutes, and with two it had
            taken 8 minutes and 7.8 GB of memory when we stopped it.
        """
        batch = pair_variables()
        loss = self.loss(*batch, training=True)
        return function([*batch], loss, updates=optimizer(loss, self.params), mode=mode)

    def compile_loss(self, mode: Any = QUICK) -> Any:
        """Compile ``(source, source_mask, target, target_mask) -> loss`` without dropout.

        What they are, and what `mode` is, see `compile_training`.
        """
        batch = pair_variables()
        return function([*batch], self.loss(*batch), mode=mode)

    def compile_encoder(self, mode: Any = QUICK) -> Any:
        """Compile ``(source, source_mask) -> [*known, *states]``: all that the decoder needs.

        Both are arrays ``(places, batch)``, int64 and bool; `mode` is as in `compile_training`.
        The states are keys and values of each decoder layer, ``(batch, steps, 2 n_features)``, here
        of no step yet.
        """
        source, mask, *_ = pair_variables()
        encoded = self.encode(source, mask)
        nothing = pt.zeros((mask.shape[1], 0, 2 * self.n_features), dtype=encoded.memory.dtype)
        states = [nothing for _ in self.decoder]
        return function(
            [source, mask], [encoded.mask, *encoded.keys_values, *states], mode=mode
        )

    def compile_step(self, mode: Any = QUICK) -> Any:
        """Compile one step of use; `mode` is as in `compile_training`.

        Returns
        -------
        function
            ``(tokens, *encoded) -> [log_p, weights, *states]``: tokens ``(batch,)``, int64, at
            first `start`; what the encoder's function returned, its states those of the step
            before; log_p ``(batch, n_target)``, and weights ``(batch, places)``. The states grow
            by a step with each call.
        """
        dtype = self.params[0].dtype
        tokens, mask = pt.lvector("tokens"), pt.matrix("mask", dtype="bool")
        known = [pt.tensor3(name, dtype=dtype) for name in self.known[1:]]
        before = [pt.tensor3(f"past{k + 1}", dtype=dtype) for k in range(len(self.decoder))]
        encoded = Encoded(known[0], known, mask)  # the memory itself is no longer needed
        past = [a.transpose(1, 0, 2) for a in before]
        logits, weights, after = self.step(tokens, past, encoded)
        return function(
            [tokens, mask, *known, *before],
            [
                pt.special.log_softmax(logits, axis=-1),
                weights,
                *(a.transpose(1, 0, 2) for a in after),
            ],
            mode=mode,
        )


class Tokens(Module):
    """The vectors of tokens and of their positions: ``sqrt(n) E[token_t] + p_t``.

    Parameters
    ----------
    n_tokens, n_features
        Shape of E, of which N(0, 1 / n) makes the first values; n is `n_features`.
    positions
        As for `Transformer`.
    rng
        Source of the first weights.
    name
        Prefix of the weights' names.
    """

    def __init__(
        self, n_tokens: int, n_features: int, positions: int | None, rng: Generator
    ) -> None:
        check_whole("n_features", n_features)
        initial = partial(normal, std=n_features**-0.5)
        self.embedding = Embedding(n_tokens, n_features, rng=rng, W=initial)
        self.positions = Positions(n_features, n_learned=positions, rng=rng)

    def __call__(self, tokens: Any, first: Any = 0) -> TensorVariable:
        """Return vectors ``(steps, batch, n_features)`` of tokens at positions from `first` on."""
        tokens = pt.as_tensor_variable(tokens)
        if tokens.ndim != 2:
            raise ValueError(
                f"the tokens have {tokens.ndim} axes, but must have two, (time, batch)"
            )
        e = self.embedding(tokens)
        scale = np.asarray(np.sqrt(self.positions.n_features), dtype=e.dtype)
        return scale * e + self.positions(tokens.shape[0], first)[:, None]

    def scores(self, h: TensorVariable) -> TensorVariable:
        """Return ``h E^T``, logits with tied weights, ``(steps, batch, n_tokens)``."""
        steps, batch, n = h.shape
        E = self.embedding.W
        return (h.reshape((steps * batch, n)) @ E.T).reshape((steps, batch, E.shape[0]))
