"""A decoder conditioned on a vector, and the sequences that it generates."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytensor.tensor as pt
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_token_id, check_whole
from symrnn.compiling.function import function
from symrnn.compiling.shapes import of_shape
from symrnn.models.sampling import check_drawing, draw, probabilities
from symrnn.nn.cells import Cell, GRUCell
from symrnn.nn.initializers import normal
from symrnn.nn.layers import Dense, Embedding
from symrnn.nn.module import Module
from symrnn.nn.random import draw_mask
from symrnn.nn.recurrent import unroll

STANDARD_NORMAL = partial(normal, std=1.0)
"""Initializer of an embedding that is to matter from the first step on."""


class Decoder(Module):
    """A language model conditioned on a vector d.

    ::

        h_0 = tanh(d W_0 + b_0)
        h_t = cell([E[y_{t-1}], d], h_{t-1})        y_0 is a start token
        p(y_t = i | y_1 ... y_{t-1}, d) = softmax(h_t W + b)_i

    With word dropout (Bowman et al., 2016) each input y_{t-1} is, in training, replaced with some
    probability by a placeholder token. So the decoder cannot rely on the previous tokens
    alone, and has to use d.

    Parameters
    ----------
    embedding
        Vectors of the tokens, of the start token and of the placeholder of word dropout: two more
        than `n_tokens`. It may be shared with an encoder.
    n_condition, n_hidden
        Size of d, and hidden units.
    rng
        Source of the initial weights, and of the seeds of word dropout.
    cell
        Makes the cell: a class such as `symrnn.LSTMCell`, or any function
        ``(n_in, n_hidden, *, rng) -> cell``. Of its state h starts as above, the rest at 0.
    word_dropout
        Fraction of the inputs that is replaced in training, within [0, 1].

    Attributes
    ----------
    n_tokens
        Number of tokens that can be generated.
    start
        Token id of the start token: `n_tokens`.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> decoder = Decoder(Embedding(3 + 2, 4, rng=rng), 2, 8, rng=rng)
    >>> target = np.array([[0, 1], [2, 0]])  # (time, batch)
    >>> decoder.logits(pt.ones((2, 2)), target).eval(mode="FAST_COMPILE").shape
    (2, 2, 3)
    """

    def __init__(
        self,
        embedding: Embedding,
        n_condition: int,
        n_hidden: int,
        *,
        rng: Generator,
        cell: Callable[..., Cell] = GRUCell,
        word_dropout: float = 0.0,
    ) -> None:
        if not 0 <= word_dropout <= 1:
            raise ValueError(f"word_dropout is {word_dropout}, but must be a fraction, in [0, 1]")
        self.embedding, self.rng, self.word_dropout = embedding, rng, word_dropout
        self.n_tokens = self.start = embedding.n_tokens - 2
        self.first = Dense(n_condition, n_hidden, rng=rng)
        self.cell = cell(embedding.n_features + n_condition, n_hidden, rng=rng)
        self.output = Dense(n_hidden, self.n_tokens, rng=rng)

    def initial_state(self, d: TensorVariable) -> Any:
        """Return the state before the first step, of d, ``(batch, n_condition)``."""
        zeros = self.cell.initial_state(d.shape[0])
        return type(zeros)(pt.tanh(self.first(d)), *zeros[1:])

    def logits(self, d: TensorVariable, target: Any, *, training: bool = False) -> TensorVariable:
        """Return h W + b of all steps, with the target's tokens as inputs (teacher forcing).

        Parameters
        ----------
        d
            Shape ``(batch, n_condition)``.
        target
            Token ids, shape ``(time, batch)``. The inputs are the start token and all of these but
            the last.
        training
            True applies word dropout, drawn at each call of a function that `symrnn.function`
            compiles.

        Returns
        -------
        TensorVariable
            Shape ``(time, batch, n_tokens)``.
        """
        target = pt.as_tensor_variable(target)
        previous = target[:-1]
        if training and self.word_dropout:
            dropped = draw_mask(self.rng, self.word_dropout, tuple(previous.shape))
            previous = pt.switch(dropped, self.n_tokens + 1, previous)
        inputs = pt.concatenate([pt.full_like(target[:1], self.start), previous])
        h, _ = unroll(self.cell, self._inputs(inputs, d), initial_state=self.initial_state(d))
        return self.output(h)

    def step(self, tokens: Any, d: TensorVariable, state: Any) -> tuple[TensorVariable, Any]:
        """Return the logits ``(batch, n_tokens)`` and the next state.

        Parameters
        ----------
        tokens
            The previous output tokens, ``(batch,)``; at first `start`.
        d, state
            The vector, and the state so far; at first `initial_state`.
        """
        h, new_state = unroll(self.cell, self._inputs(tokens[None], d), initial_state=state)
        return self.output(h)[0], new_state

    def _inputs(self, tokens: TensorVariable, d: TensorVariable) -> TensorVariable:
        e = self.embedding(tokens)
        d = of_shape(partial(pt.broadcast_to, d), (e.shape[0], *tuple(d.shape)))
        return pt.concatenate([e, d], axis=2)

    def compile_start(self, *, mode: Any = None) -> Any:
        """Compile ``d -> state``, a list of its arrays."""
        d = pt.matrix("d", dtype=self.output.W.dtype)
        return function([d], [*self.initial_state(d)], mode=mode)

    def compile_step(self, *, mode: Any = None) -> Any:
        """Compile ``(tokens, d, *state) -> [log_p, *state]``, shapes as in `step`."""
        tokens, d = pt.lvector("tokens"), pt.matrix("d", dtype=self.output.W.dtype)
        state = self.cell.State(
            *(d.type(name) for name in self.cell.State._fields)  # type: ignore[attr-defined]
        )
        logits, new_state = self.step(tokens, d, state)
        log_p = pt.special.log_softmax(logits, axis=-1)
        return function([tokens, d, *state], [log_p, *new_state], mode=mode)


class SequenceGenerator:
    """Generates sequences with a `Decoder`, one compiled step at a time, greedily or by sampling.

    Parameters
    ----------
    decoder
        Its weights may change later, as in training.
    eos
        Token id of the token that ends a sequence.
    longest
        A sequence is cut off after this many tokens.
    banned
        Token ids that are never generated, such as that of ``<unk>``; `eos` is not among them.
    mode
        Compilation mode, see `symrnn.function`; not JAX, which needs to know all shapes.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> decoder = Decoder(Embedding(3 + 2, 4, rng=rng), 2, 8, rng=rng)
    >>> generator = SequenceGenerator(decoder, eos=2, longest=4)
    >>> drawn = generator.generate(np.ones((5, 2)), rng=rng)
    >>> len(drawn), max(map(len, drawn)) <= 4, 2 in drawn[0]
    (5, True, False)
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        eos: int,
        longest: int = 50,
        banned: Sequence[int] = (),
        mode: Any = None,
    ) -> None:
        if eos is None:
            raise ValueError("eos is None, but every sequence must be able to end: a vocabulary "
                             "with <eos> has vocabulary.eos")  # fmt: skip
        for name, token in [("eos", eos), *(("a banned token", b) for b in banned)]:
            check_token_id(name, token, decoder.n_tokens)
        if eos in banned:
            raise ValueError(f"eos, {eos}, is banned, but every sequence must be able to end")
        check_whole("longest", longest)
        self.decoder, self.eos, self.longest = decoder, eos, longest
        self.banned = list(banned)
        self.start, self.step = decoder.compile_start(mode=mode), decoder.compile_step(mode=mode)

    def generate(
        self,
        d: ArrayLike,
        *,
        rng: Generator | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> list[list[int]]:
        """Generate a sequence for each vector.

        Parameters
        ----------
        d
            Shape ``(batch, n_condition)``.
        rng
            Source of random numbers, to sample each token. Default: greedy, at each step the most
            probable token.
        temperature, top_k, top_p
            How to sample, see `symrnn.models.sampling.sampling_probabilities`. They need `rng`.

        Returns
        -------
        list of lists of int
            Token ids of each sequence, without `eos`.
        """
        check_drawing(rng, self.decoder.n_tokens, temperature, top_k, top_p)
        vectors: NDArray[Any] = np.asarray(d, dtype=self.decoder.output.W.dtype)
        n_condition = self.decoder.first.n_in
        if vectors.ndim != 2 or vectors.shape[1] != n_condition or not len(vectors):
            raise ValueError(
                f"the vectors have shape {vectors.shape}, but must have (batch, n_condition) = "
                f"(1 or more, {n_condition})"
            )
        state = self.start(vectors)
        outputs: list[NDArray[np.int64]] = []
        tokens = np.full(len(vectors), self.decoder.start)
        unfinished = np.ones(len(vectors), bool)
        while unfinished.any() and len(outputs) < self.longest:
            log_p, *state = self.step(tokens, vectors, *state)
            if np.isnan(log_p).any():
                raise ValueError("the model's probabilities are NaN: its training diverged")
            log_p[:, self.banned] = -np.inf
            tokens = log_p.argmax(axis=1)
            if rng is not None:
                ps = (probabilities(r, temperature, top_k, top_p) for r in log_p.astype(float))
                tokens = np.array([draw(p, rng) for p in ps])
            unfinished &= tokens != self.eos
            outputs.append(np.where(unfinished, tokens, self.eos))
        sequences = np.array(outputs).T.tolist()
        return [ids[: ids.index(self.eos)] if self.eos in ids else ids for ids in sequences]
