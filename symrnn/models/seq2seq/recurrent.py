"""Recurrent encoder and decoder of `symrnn.Seq2Seq`; the decoder's loop, where it needs one."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_choice, check_sizes
from symrnn.compiling.shapes import of_shape
from symrnn.nn.attention import Attention
from symrnn.nn.cells import Cell, LSTMCell
from symrnn.nn.layers import Dense, Dropout, Embedding
from symrnn.nn.module import Module
from symrnn.nn.random import draw_mask, draw_uniform
from symrnn.nn.recurrent import stack

CONTEXT_TO = ("output", "input", "both")
"""Where the context of attention can go."""


class Encoded(NamedTuple):
    """What the decoder gets of a batch of sources."""

    states: list[Any]
    """The decoder's initial state, of each layer."""
    vector: TensorVariable
    """v: h of the top layer's last state, ``(batch, n_hidden)``."""
    memory: TensorVariable
    """m: the top layer's outputs, ``(positions, batch, n_hidden)``."""
    keys: TensorVariable | None
    """What attention computes of the memory once, if anything."""
    mask: TensorVariable
    """Which source positions are valid, ``(positions, batch)``."""


class RecurrentEncoder(Module):
    """Recurrent layers that read a sequence forwards, backwards or in both directions.

    Parameters
    ----------
    n_in
        Features of the input.
    n_hidden
        Units of each layer; with `bidirectional` half of them for each direction.
    rng
        Source of the initial weights.
    n_layers
        Number of layers, at least 1.
    cell
        Makes a layer's cell: a class, or any function ``(n_in, n_hidden, *, rng) -> cell``.
    bidirectional
        True reads in both directions.
    reverse
        True reads from the end.
    residual
        True adds a layer's input to its outputs, where both are equally wide.

    Attributes
    ----------
    layers : list
        Cells from the bottom up; pairs of cells (forwards and backwards) if `bidirectional`.

    Examples
    --------
    >>> encoder = RecurrentEncoder(3, 8, rng=np.random.default_rng(1), bidirectional=True)
    >>> outputs, (state,) = encoder(np.ones((5, 2, 3)), mask=np.ones((5, 2)))
    >>> outputs.eval(mode="FAST_COMPILE").shape, state.h.eval(mode="FAST_COMPILE").shape
    ((5, 2, 8), (2, 8))
    """

    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        *,
        rng: Generator,
        n_layers: int = 1,
        cell: Callable[..., Cell] = LSTMCell,
        bidirectional: bool = False,
        reverse: bool = False,
        residual: bool = False,
    ) -> None:
        check_sizes(n_in=n_in, n_hidden=n_hidden, n_layers=n_layers)
        if bidirectional and reverse:
            raise ValueError("a bidirectional encoder reads both ways: leave out reverse")
        if bidirectional and n_hidden % 2:
            raise ValueError(f"n_hidden is {n_hidden}, but must be even: each direction has half")
        self.bidirectional, self.reverse, self.residual = bidirectional, reverse, residual
        self.layers: list[Any] = []
        for k in range(n_layers):
            sizes = n_hidden if k else n_in, n_hidden // (2 if bidirectional else 1)
            pair = [cell(*sizes, rng=rng) for _ in range(2 if bidirectional else 1)]
            self.layers.append(tuple(pair) if bidirectional else pair[0])

    def __call__(
        self,
        x: Any,
        *,
        mask: Any,
        between: Callable[[TensorVariable], TensorVariable] | None = None,
    ) -> tuple[TensorVariable, list[Any]]:
        """Return the top layer's outputs and the last state of each layer.

        Parameters
        ----------
        x
            Shape ``(time, batch, n_in)``.
        mask
            Which steps are valid, shape ``(time, batch)``.
        between
            Applied to the outputs of each layer but the last, such as dropout.

        Returns
        -------
        outputs : TensorVariable
            Shape ``(time, batch, n_hidden)``.
        states : list
            Of each layer; those of two directions are concatenated.
        """
        options: dict[str, Any] = {} if self.bidirectional else {"reverse": self.reverse}
        outputs, ends = stack(
            self.layers, x, mask=mask, between=between, residual=self.residual, **options
        )
        return outputs, [_concatenated(end) if self.bidirectional else end for end in ends]


def _concatenated(pair: tuple[Any, Any]) -> Any:
    """The states of two directions as one."""
    fields = zip(*pair, strict=True)
    return type(pair[0])(*(pt.concatenate(field, axis=1) for field in fields))


class RecurrentDecoder(Module):
    """Recurrent layers that write a sequence, with attention or without; see `symrnn.Seq2Seq`.

    Parameters
    ----------
    embedding
        Of the targets' tokens and of a start token, the last one. Its weights are not among the
        decoder's.
    n_hidden
        Units of each layer, and size of the encoder's outputs.
    dropout
        Applied in training to what goes into each layer and into the output.
    rng
        Source of the initial weights, and of the masks and draws of training.
    n_layers
        Number of layers, at least 1.
    cell
        Makes a layer's cell: a class, or any function ``(n_in, n_hidden, *, rng) -> cell``.
    residual
        True adds a layer's input to its outputs, where both are equally wide.
    peeky
        True shows the source's vector v to every step.
    attention
        None, or the score of `symrnn.Attention`.
    context_to
        Where the context of attention goes: ``"output"``, ``"input"`` or ``"both"``.

    Attributes
    ----------
    layers : list of Cell
        From the bottom up.
    attention : Attention or None
    output : Dense
        W and b.
    inputs : list of str
        Which fields of `Encoded`, besides the states, a step needs.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> decoder = RecurrentDecoder(
    ...     Embedding(5, 3, rng=rng), 8, dropout=Dropout(0.1, rng=rng), rng=rng, attention="general"
    ... )
    >>> list(decoder.named_params())
    ['layers.0.W_x', 'layers.0.W_h', 'layers.0.b', 'attention.W', 'output.W', 'output.b']
    """

    def __init__(
        self,
        embedding: Embedding,
        n_hidden: int,
        *,
        dropout: Dropout,
        rng: Generator,
        n_layers: int = 1,
        cell: Callable[..., Cell] = LSTMCell,
        residual: bool = False,
        peeky: bool = False,
        attention: str | None = None,
        context_to: str = "output",
    ) -> None:
        check_sizes(n_hidden=n_hidden, n_layers=n_layers)
        check_choice("context_to", context_to, CONTEXT_TO)
        if attention is None and context_to != "output":
            raise ValueError(
                f"context_to is {context_to!r}, but there is no attention, so no context: give "
                "attention='dot', for example"
            )
        self._embedding = embedding  # with an underscore: its weights belong to the model
        self.dropout, self.rng = dropout, rng
        self.n_hidden, self.residual, self.peeky = n_hidden, residual, peeky
        self.context_to_input = attention is not None and context_to != "output"
        self.context_to_output = attention is not None and context_to != "input"
        n_in = embedding.n_features + n_hidden * (peeky + self.context_to_input)
        self.layers = [cell(n_hidden if k else n_in, n_hidden, rng=rng) for k in range(n_layers)]
        self.attention = Attention(attention, n_hidden, n_hidden, rng=rng) if attention else None
        self.inputs = ["vector"] if peeky else []
        if attention is not None:
            self.inputs += ["memory", "mask"]
        if attention in ("general", "additive"):
            self.inputs.append("keys")
        n_out = n_hidden * (1 + peeky + self.context_to_output)
        self.output = Dense(n_out, embedding.n_tokens - 1, rng=rng)

    def logits(
        self,
        tokens: TensorVariable,
        encoded: Encoded,
        *,
        training: bool = False,
        sampling_probability: Any = None,
    ) -> TensorVariable:
        """Return o W + b of all steps, shape ``(steps, batch, n_target)``.

        Parameters
        ----------
        tokens
            The previous output token of each step, shape ``(steps, batch)``.
        encoded
            What was read of the sources.
        training
            True applies dropout.
        sampling_probability
            None, or the probability with which a token is replaced by a draw from the decoder's own
            output of the step before, a number or a shared variable.
        """
        if self.context_to_input or sampling_probability is not None:
            return self._logits_in_loop(tokens, encoded, training, sampling_probability)
        drop = partial(self.dropout, training=training)
        x = self._with_vector(drop(self._embedding(tokens)), encoded)
        h, _ = stack(
            self.layers, x, initial_state=encoded.states, between=drop, residual=self.residual
        )
        context = self._attend(h, encoded)[0] if self.context_to_output else None
        return self._output(drop(h), context, encoded)

    def step(
        self, tokens: Any, states: Sequence[Any], encoded: Encoded
    ) -> tuple[TensorVariable, TensorVariable | None, list[Any]]:
        """Return logits ``(batch, n_target)``, attention weights and the next states.

        Parameters
        ----------
        tokens
            The previous output tokens, shape ``(batch,)``.
        states
            The state of each layer.
        encoded
            What was read of the sources.
        """
        h, context, weights, after = self._hidden(self._embedding(tokens), states, encoded)
        return self._output(h, context, encoded)[0], weights, after

    def states_of(self, arrays: Sequence[Any]) -> list[Any]:
        """Return a state for each layer, of all their arrays in a row."""
        left = iter(arrays)
        return [c.State(*(next(left) for _ in c.State._fields)) for c in self.layers]  # type: ignore[attr-defined]

    def _hidden(
        self, x: TensorVariable, states: Sequence[Any], encoded: Encoded, between: Any = None
    ) -> tuple[TensorVariable, Any, Any, list[Any]]:
        """A step but for the output: h, the context for the output, weights and states."""
        x, context, weights = self._with_vector(x[None], encoded), None, None
        if self.context_to_input:
            context, weights = self._attend(states[-1][0][None], encoded)
            x = pt.concatenate([x, context], axis=2)
        h, after = stack(
            self.layers, x, initial_state=states, between=between, residual=self.residual
        )
        if self.attention is not None and not self.context_to_input:
            context, weights = self._attend(h, encoded)
        weights = None if weights is None else weights[0]
        return h, context if self.context_to_output else None, weights, after

    def _with_vector(self, x: TensorVariable, encoded: Encoded) -> TensorVariable:
        if not self.peeky:
            return x
        repeat = partial(pt.broadcast_to, encoded.vector)
        vector = of_shape(repeat, (x.shape[0], *tuple(encoded.vector.shape)))
        return pt.concatenate([x, vector], axis=2)

    def _attend(self, h: TensorVariable, encoded: Encoded) -> tuple[TensorVariable, TensorVariable]:
        assert self.attention is not None
        return self.attention(h, encoded.memory, mask=encoded.mask, keys=encoded.keys)

    def _output(self, h: TensorVariable, context: Any, encoded: Encoded) -> TensorVariable:
        o = self._with_vector(h, encoded)
        return self.output(o if context is None else pt.concatenate([o, context], axis=2))

    # --- the loop, for what one step needs of the output of the step before -----------------------

    def _logits_in_loop(
        self, tokens: TensorVariable, encoded: Encoded, training: bool, sampling_probability: Any
    ) -> TensorVariable:
        """The logits by a scan over the steps.

        All random numbers are drawn before the loop and enter it as sequences.
        """
        sampling = sampling_probability is not None
        sequences = self._loop_inputs(tokens, training, sampling_probability)
        start = [s for state in encoded.states for s in state]
        if sampling:
            start.append(pt.zeros_like(tokens[0]))  # the output token of the step before
        constants = {name: getattr(encoded, name) for name in self.inputs}

        def step(*arguments: TensorVariable) -> list[TensorVariable]:
            now = dict(zip(sequences, arguments, strict=False))
            before = list(arguments[len(sequences) : len(sequences) + len(start)])
            rest = arguments[len(sequences) + len(start) :]
            here = encoded._replace(**dict(zip(constants, rest, strict=True)))
            x = now["x"]
            if sampling:
                token = pt.switch(now["sample"], before.pop(), now["tokens"])
                of_token = self._embedding(token) * now["kept"]
                x = pt.switch(now["sample"][:, None], of_token, x)
            masks = iter(
                [now["masks"][k] for k in range(len(self.layers))] if "masks" in now else []
            )

            def drop(h: TensorVariable) -> TensorVariable:
                return h * next(masks, 1)

            h, context, _, after = self._hidden(x, self.states_of(before), here, drop)
            z = self._output(drop(h), context, here)[0]
            results = [s for state in after for s in state]
            if sampling:  # the largest of logits and Gumbel noise is a draw from the softmax
                results.append(pt.argmax(z + now["gumbel"], axis=1))
            return [*results, z]

        *_, z = pytensor.scan(
            step, list(sequences.values()), [*start, None], list(constants.values()), strict=False,
            return_list=True, return_updates=False, name="decoder",
        )  # fmt: skip
        return z

    def _loop_inputs(
        self, tokens: TensorVariable, training: bool, sampling_probability: Any
    ) -> dict[str, TensorVariable]:
        """The sequences of the loop, by name: embedded tokens, dropout's masks, random numbers."""
        (steps, batch), floats = tokens.shape, self.output.W.dtype
        x = self._embedding(tokens)
        kept = self.dropout(pt.ones_like(x), training=training)  # 1, or dropout's mask
        sequences = {"x": x * kept}
        if training and self.dropout.rate:
            keep = 1 - self.dropout.rate
            masks = draw_mask(self.rng, keep, (steps, len(self.layers), batch, self.n_hidden))
            sequences["masks"] = masks.astype(floats) / np.asarray(keep, floats)
        if sampling_probability is not None:
            sample = pt.lt(draw_uniform(self.rng, (steps, batch)), sampling_probability)
            u = draw_uniform(self.rng, (steps, batch, self.output.n_out)).astype(floats)
            sequences |= {
                "kept": kept,
                "tokens": tokens,
                "sample": pt.set_subtensor(sample[0], np.False_),  # there was no output before
                "gumbel": -pt.log(-pt.log(pt.clip(u, 1e-7, 1 - 1e-7))),
            }
        return sequences
