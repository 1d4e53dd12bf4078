"""Sequence to sequence: a net that reads one sequence, and another that writes the answer."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_whole
from symrnn.compiling.function import function
from symrnn.nn.attention import Attention
from symrnn.nn.cells import Cell, LSTMCell
from symrnn.nn.initializers import Initializer, normal
from symrnn.nn.layers import Dense, Dropout, Embedding
from symrnn.nn.module import Module
from symrnn.nn.random import draw_mask, draw_uniform
from symrnn.nn.recurrent import stack
from symrnn.training.losses import categorical_cross_entropy
from symrnn.training.optimizers import Optimizer

FEEDINGS = ("output", "input", "both")
LARGE = partial(normal, std=1.0)
Shape = tuple[int | None, int | None]


class Encoded(NamedTuple):
    """What the decoder gets to know of a batch of sources."""

    states: list[Any]
    """The decoder's first state, of each layer."""
    vector: TensorVariable
    """h of the top layer's last state, ``(batch, n_hidden)``."""
    memory: TensorVariable
    """The top layer's outputs, ``(places, batch, n_hidden)``."""
    keys: TensorVariable | None
    """What attention computes of the memory once, if anything."""
    mask: TensorVariable
    """Which places there are, ``(places, batch)``."""


class Seq2Seq(Module):
    """Encoder and decoder (Sutskever et al., 2014; Cho et al., 2014), with attention if wanted.

    ::

        m_j, v  = encoder(D(E_s[s_1]) ... D(E_s[s_J]))      all outputs, and the last h
        x_t     = D(E_t[y_{t-1}])                           y_0 is a start token of its own
        x_t     = [x_t, v]                                  if peeky
        x_t     = [x_t, a_t]  a_t = attention(h_{t-1}, m)   if attention feeds the input, or both
        h_t     = decoder(x_t, h_{t-1})                     h_0: the encoder's last state
        o_t     = D(h_t)
        o_t     = [o_t, v]                                  if peeky
        o_t     = [o_t, a_t]                                if attention feeds both
        o_t     = [o_t, a_t]  a_t = attention(h_t, m)       if attention feeds the output alone
        p(y_t = i | y_1 ... y_{t-1}, s) = softmax(o_t W + b)_i

    Encoder and decoder have as many layers; each decoder layer starts in the last state of its
    encoder layer. D is dropout in training, and nothing in use.

    Parameters
    ----------
    n_source, n_target
        Sizes of the vocabularies. The target's has a token that ends an answer; the start token is
        none of them.
    n_embed, n_hidden
        Length of a token's vector, and units of each layer.
    rng
        Source of the initial weights, and of the masks' seeds.
    n_layers
        How many layers encoder and decoder have, at least 1.
    cell
        Makes a layer: a class such as `symrnn.nn.cells.GRUCell`, or any function
        ``(n_in, n_hidden, rng, name=...) -> cell``.
    bidirectional
        True lets the encoder read in both directions (Schuster and Paliwal, 1997), each with half
        of the units.
    reverse
        True lets the encoder read from the end (Sutskever et al., 2014).
    residual
        True adds to a layer's outputs its input, where both are equally wide (He et al., 2016; Wu
        et al., 2016), so that deep nets learn. h_t in o_t is then this sum, and so it is where
        attention looks with it; attention before a step looks with the top cell's state.
    peeky
        True shows the decoder v at every step, in its cell and its output (Cho et al., 2014).
    attention
        None, or a score of `symrnn.nn.attention.Attention`: ``"dot"``, ``"scaled"``, ``"general"``,
        ``"additive"``.
    feeding
        Where the context goes: ``"output"`` looks with the state after a step (Luong et al., 2015),
        ``"input"`` and ``"both"`` with the one before (Bahdanau et al., 2015). The latter two need
        a loop with the attention in it: they train more slowly, and in mode NUMBA they take minutes
        to compile for the first time.
    dropout
        Which part of the features is left out in training, within [0, 1).
    W_embed
        Makes the first vectors of the tokens, from `symrnn.nn.initializers`. Default: N(0, 1), with
        which models learn faster than with smaller ones.

    Attributes
    ----------
    params
        All weights, in order.
    start
        Number of the start token: `n_target`.
    known
        Which fields of `Encoded`, besides the states, the decoder needs.

    Raises
    ------
    ValueError
        If a size is below 1, a rate or an option not as said, or options do not go together.

    Examples
    --------
    >>> from symrnn.training.optimizers import adam
    >>> model = Seq2Seq(3, 3, 4, 16, np.random.default_rng(1), attention="dot")
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.03),
    ...                               mode="FAST_COMPILE")
    >>> source, target = np.array([[0, 1], [1, 0]]), np.array([[1, 0], [0, 1], [2, 2]])  # reversed
    >>> batch = source, source > -1, target, target > -1  # tokens and masks, (time, batch)
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
        rng: Generator,
        n_layers: int = 1,
        cell: Callable[..., Cell] = LSTMCell,
        bidirectional: bool = False,
        reverse: bool = False,
        residual: bool = False,
        peeky: bool = False,
        attention: str | None = None,
        feeding: str = "output",
        dropout: float = 0.0,
        W_embed: Initializer = LARGE,
    ) -> None:
        for label, size in (("n_layers", n_layers), ("n_hidden", n_hidden)):
            check_whole(label, size)
        if not callable(cell):
            raise TypeError(f"cell is {cell!r}, but must be a class such as LSTMCell")
        if feeding not in FEEDINGS:
            raise ValueError(f"feeding is {feeding!r}, but must be one of {', '.join(FEEDINGS)}")
        if attention is None and feeding != "output":
            raise ValueError(f"feeding is {feeding!r}, but there is no attention to feed anything")
        if bidirectional and reverse:
            raise ValueError("a bidirectional encoder reads both ways: leave out reverse")
        if bidirectional and n_hidden % 2:
            raise ValueError(f"n_hidden is {n_hidden}, but must be even: each direction has half")
        self.n_source, self.n_target, self.n_hidden = n_source, n_target, n_hidden
        self.reverse, self.residual, self.peeky = reverse, residual, peeky
        self.start = n_target
        self.known = ["vector"] if peeky else []
        if attention is not None:
            self.known += ["memory", "mask"]
            if attention in ("general", "additive"):
                self.known.append("keys")
        self.feeds_input = attention is not None and feeding != "output"
        self.feeds_output = attention is not None and feeding != "input"
        self.embed_source = Embedding(n_source, n_embed, rng=rng, W=W_embed)
        self.embed_target = Embedding(n_target + 1, n_embed, rng=rng, W=W_embed)
        self.encoder: list[Any] = []
        self.decoder: list[Cell] = []
        for k in range(n_layers):
            n_in = n_hidden if k else n_embed
            if bidirectional:
                layer: Any = tuple(cell(n_in, n_hidden // 2, rng=rng) for _ in range(2))
            else:
                layer = cell(n_in, n_hidden, rng=rng)
            self.encoder.append(layer)
        for k in range(n_layers):
            n_in = n_hidden if k else n_embed + n_hidden * (peeky + self.feeds_input)
            self.decoder.append(cell(n_in, n_hidden, rng=rng))
        self.attention: Attention | None = None
        if attention is not None:
            self.attention = Attention(attention, n_hidden, n_hidden, rng=rng)
        n_out = n_hidden * (1 + peeky + self.feeds_output)
        self.output = Dense(n_out, n_target, rng=rng)
        self.rng = rng
        self.dropout = Dropout(dropout, rng=rng)

    def encode(self, source: Any, mask: Any, training: bool = False) -> Encoded:
        """Read a batch of sources.

        Parameters
        ----------
        source
            Tokens, shape ``(places, batch)``, integers.
        mask
            1 (or True) for a token, 0 for padding after it, of the same shape. Each source has at
            least one token.
        training
            Whether dropout is at work; then compile with ``model.noise.updates``.

        Returns
        -------
        Encoded
            Variables, which `logits` and `step` take.

        Raises
        ------
        ValueError
            If the mask has another shape; when the function is called: if it holds anything but 0
            and 1, or there is no place or no source.
        """
        source = _not_empty(source, "source (places, batch)")
        drop = self._drop(training)
        both_ways = isinstance(self.encoder[0], tuple)
        options: dict[str, Any] = {} if both_ways else {"reverse": self.reverse}
        memory, ends = stack(
            self.encoder, drop(self.embed_source(source)), mask=mask, between=drop,
            residual=self.residual, **options,
        )  # fmt: skip
        states = []
        for cell, end in zip(self.decoder, ends, strict=True):
            if not both_ways:
                states.append(end)
            else:  # the two directions' states side by side
                fields = [pt.concatenate(pair, axis=1) for pair in zip(*end, strict=True)]
                states.append(cell.State(*fields))
        keys = None  # with the scores dot and scaled, too: there they are the memory itself
        if self.attention is not None and "keys" in self.known:
            keys = self.attention.keys(memory)
        return Encoded(states, states[-1][0], memory, keys, pt.as_tensor_variable(mask))

    def logits(
        self, encoded: Encoded, target: Any, training: bool = False, own: Any = None
    ) -> TensorVariable:
        """Return o W + b of all steps, the decoder being given the right tokens before each.

        Parameters
        ----------
        encoded
            What `encode` returned.
        target
            The answers, shape ``(steps, batch)``, integers.
        training
            Whether dropout is at work.
        own
            None, or which share of the tokens that the decoder is given are drawn from what it
            said itself the step before, a number or a shared variable within [0, 1] (scheduled
            sampling: Bengio et al., 2015). It needs a loop with the output in it. Compile with
            ``model.noise.updates``.

        Returns
        -------
        TensorVariable
            Shape ``(steps, batch, n_target)``.

        Raises
        ------
        ValueError
            If `own` is a number out of range.
        """
        if isinstance(own, int | float) and not 0 <= own <= 1:
            raise ValueError(f"own is {own}, but must be within [0, 1], as a share of the tokens")
        target = _not_empty(target, "target (steps, batch)")
        given = pt.concatenate([pt.full_like(target[:1], self.start), target[:-1]])
        if self.feeds_input or own is not None:
            return self._logits_by_loop(encoded, given, training, own)
        drop = self._drop(training)
        x = self._with_vector(drop(self.embed_target(given)), encoded)
        h, _ = stack(self.decoder, x, initial_state=encoded.states, between=drop, residual=self.residual)
        context = self._look(h, encoded)[0] if self.feeds_output else None
        return self._out(drop(h), context, encoded)

    def step(
        self, tokens: Any, states: Sequence[Any], encoded: Encoded
    ) -> tuple[TensorVariable, TensorVariable | None, list[Any]]:
        """Return logits ``(batch, n_target)``, attention's weights and the next states.

        Parameters
        ----------
        tokens
            What was said last, ``(batch,)``; at first `start`.
        states
            The state of each decoder layer; at first ``encoded.states``.
        encoded
            What `encode` returned.
        """
        h, context, weights, after = self._cells(self.embed_target(tokens), states, encoded)
        return self._out(h, context, encoded)[0], weights, after

    def _cells(
        self, x: TensorVariable, states: Sequence[Any], encoded: Encoded, between: Any = None
    ) -> tuple[TensorVariable, Any, Any, list[Any]]:
        """A step but for the output: h, the context for the output, weights and states."""
        x, context, weights = self._with_vector(x[None], encoded), None, None
        if self.feeds_input:
            context, weights = self._look(states[-1][0][None], encoded)
            x = pt.concatenate([x, context], axis=2)
        h, after = stack(self.decoder, x, initial_state=states, between=between, residual=self.residual)
        if self.attention is not None and not self.feeds_input:
            context, weights = self._look(h, encoded)
        weights = None if weights is None else weights[0]
        return h, context if self.feeds_output else None, weights, after

    def _logits_by_loop(
        self, encoded: Encoded, given: TensorVariable, training: bool, own: Any
    ) -> TensorVariable:
        """The logits by a scan over the steps, where one needs what the one before has found.

        All random numbers are drawn before the loop, and come into it as sequences.
        """
        steps, batch = given.shape
        floats = self.output.W.dtype
        start = [s for state in encoded.states for s in state]
        fixed = self._known(encoded)
        x = self.embed_target(given)
        kept = self._drop(training)(pt.ones_like(x))  # ones, or dropout's mask of the tokens
        sequences = {"x": x * kept}
        if training and self.dropout.rate:
            keep = 1 - self.dropout.rate
            m = draw_mask(self.rng, keep, (steps, len(self.decoder), batch, self.n_hidden))
            sequences["m"] = m.astype(floats) / np.asarray(keep, floats)
        if own is not None:
            said = pt.lt(draw_uniform(self.rng, (steps, batch)), own)
            chances = draw_uniform(self.rng, (steps, batch, self.n_target)).astype(floats)
            sequences |= {
                "kept": kept,
                "given": given,
                "said": pt.set_subtensor(said[0], np.False_),  # nothing was said before
                "gumbel": -pt.log(-pt.log(pt.clip(chances, 1e-7, 1 - 1e-7))),
            }
            start.append(pt.zeros_like(given[0]))

        def step(*arguments: TensorVariable) -> list[TensorVariable]:
            now = dict(zip(sequences, arguments, strict=False))
            before = list(arguments[len(sequences) : len(sequences) + len(start)])
            rest = arguments[len(sequences) + len(start) :]
            here = encoded._replace(**dict(zip(fixed, rest, strict=True)))
            x, masks = now["x"], iter(())
            if "m" in now:
                masks = iter([now["m"][k] for k in range(len(self.decoder))])
            if own is not None:
                token = pt.switch(now["said"], before.pop(), now["given"])
                x = pt.switch(now["said"][:, None], self.embed_target(token) * now["kept"], x)

            def drop(h: TensorVariable) -> TensorVariable:
                return h * next(masks, 1)

            h, context, _, after = self._cells(x, self.as_states(before), here, drop)
            z = self._out(drop(h), context, here)[0]
            flat = [s for state in after for s in state]
            if own is not None:  # the largest of logits and Gumbel noise is a draw from softmax
                flat.append(pt.argmax(z + now["gumbel"], axis=1))
            return [*flat, z]

        *_, z = pytensor.scan(
            step, list(sequences.values()), [*start, None], list(fixed.values()), strict=False,
            return_list=True, return_updates=False, name="decoder",
        )  # fmt: skip
        return z

    def as_states(self, arrays: Sequence[Any]) -> list[Any]:
        """Return a state for each decoder layer, of all their arrays in a row."""
        left = iter(arrays)
        return [c.State(*(next(left) for _ in c.State._fields)) for c in self.decoder]  # type: ignore[attr-defined]

    def _drop(self, training: bool) -> Callable[[TensorVariable], TensorVariable]:
        rate = self.dropout.rate if training else 0.0
        return lambda h: self.dropout(h, training=True) if rate else h

    def _with_vector(self, x: TensorVariable, encoded: Encoded) -> TensorVariable:
        if not self.peeky:
            return x
        vector = pt.broadcast_to(encoded.vector, (x.shape[0], *tuple(encoded.vector.shape)))
        return pt.concatenate([x, vector], axis=2)

    def _look(self, h: TensorVariable, encoded: Encoded) -> tuple[TensorVariable, TensorVariable]:
        assert self.attention is not None
        return self.attention(h, encoded.memory, encoded.mask, encoded.keys)

    def _out(self, h: TensorVariable, context: Any, encoded: Encoded) -> TensorVariable:
        o = self._with_vector(h, encoded)
        return self.output(o if context is None else pt.concatenate([o, context], axis=2))

    def loss(
        self, source: Any, source_mask: Any, target: Any, target_mask: Any,
        training: bool = False, own: Any = None,
    ) -> TensorVariable:  # fmt: skip
        """Return the mean cross-entropy of all real tokens of the answers, in nats.

        Parameters
        ----------
        source, source_mask
            As for `encode`.
        target, target_mask
            The answers, each with the token that ends it, shape ``(steps, batch)``; and 1 for a
            token, 0 for padding.
        training, own
            As for `logits`.
        """
        logits = self.logits(self.encode(source, source_mask, training), target, training, own)
        loss = categorical_cross_entropy(logits, target, mask=target_mask)
        loss.name = "loss"
        return loss

    def compile_training(self, optimizer: Optimizer, mode: Any = None, own: Any = None) -> Any:
        """Compile a step of training.

        Parameters
        ----------
        optimizer
            A function (loss, params) -> updates, for example
            ``lambda loss, params: adam(loss, params, 0.003)``.
        mode
            As for `pytensor.function`, but not JAX, which needs to know all shapes.
        own
            As for `logits`. A shared variable may change while training.

        Returns
        -------
        function
            ``(source, source_mask, target, target_mask) -> loss``, before the update: int64
            and bool arrays, each ``(time, batch)``, such as `symrnn.text.pair_batches` gives.
        """
        batch = pair_variables()
        loss = self.loss(*batch, training=True, own=own)
        return function([*batch], loss, updates=optimizer(loss, self.params), mode=mode)

    def compile_loss(self, mode: Any = None) -> Any:
        """Compile ``(source, source_mask, target, target_mask) -> loss`` without dropout.

        All four are arrays ``(time, batch)``, int64 and bool, as for `compile_training`.
        """
        batch = pair_variables()
        return function([*batch], self.loss(*batch), mode=mode)

    def compile_encoder(self, mode: Any = None, shape: Shape = (None, None)) -> Any:
        """Compile ``(source, source_mask) -> [*known, *states]``: all that the decoder needs.

        Both are arrays ``(places, batch)``, int64 and bool. `known` are those of ``vector``,
        ``memory``, ``mask`` and ``keys`` that the model needs, in the order of the attribute
        ``known``; states are h, c or whatever the cells have, of each layer, ``(batch, n_hidden)``.
        Mode JAX needs to know the shape, ``(places, batch)``.
        """
        source, mask, *_ = pair_variables(shape)
        encoded = self.encode(source, mask)
        states = [s for state in encoded.states for s in state]
        return function(
            [source, mask], [*self._known(encoded).values(), *states], mode=mode
        )

    def compile_step(self, mode: Any = None, shape: Shape = (None, None)) -> Any:
        """Compile one step of use; `shape` is that of the sources, which mode JAX needs to know.

        Returns
        -------
        function
            ``(tokens, *encoded) -> [log_p, weights, *states]``: tokens ``(batch,)``, int64, at
            first `start`; what the encoder's function returned, its states those of the step
            before; log_p ``(batch, n_target)``, and weights ``(batch, places)``, which are left out
            where there is no attention.
        """
        batch = shape[1]
        tokens = pt.tensor("tokens", dtype="int64", shape=(batch,))
        source, mask, *_ = pair_variables(shape)
        encoded = self.encode(source, mask)  # for the kinds of its variables
        known = {name: v.type(name) for name, v in self._known(encoded).items()}
        states = [
            c.State(
                *(
                    pt.tensor(name, dtype=c.W_h.dtype, shape=(batch, batch and self.n_hidden))
                    for name in c.State._fields  # type: ignore[attr-defined]
                )
            )
            for c in self.decoder
        ]
        logits, weights, after = self.step(tokens, states, encoded._replace(**known))
        return function(
            [tokens, *known.values(), *(s for state in states for s in state)],
            [
                pt.special.log_softmax(logits, axis=-1),
                *([] if weights is None else [weights]),
                *(s for state in after for s in state),
            ],
            mode=mode,
        )

    def _known(self, encoded: Encoded) -> dict[str, TensorVariable]:
        return {name: getattr(encoded, name) for name in self.known}


def _not_empty(tokens: Any, name: str) -> TensorVariable:
    tokens = pt.as_tensor_variable(tokens)
    check = CheckAndRaise(ValueError, f"{name} is empty, but must have at least one token")
    return check(tokens, pt.gt(tokens.size, 0))


def pair_variables(
    shape: Shape = (None, None),
) -> tuple[TensorVariable, TensorVariable, TensorVariable, TensorVariable]:
    """Return variables for a batch of pairs: source, its mask, target, and the mask of that.

    All are ``(time, batch)``, int64 and bool; `shape` is that of the source, as far as known.
    """
    return (
        pt.tensor("source", dtype="int64", shape=shape),
        pt.tensor("source_mask", dtype="bool", shape=shape),
        pt.lmatrix("target"), pt.matrix("target_mask", dtype="bool"),
    )  # fmt: skip
