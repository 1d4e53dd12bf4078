"""A decoder that is given a vector: it writes a sequence about it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_whole
from symrnn.compiling.modes import QUICK
from symrnn.models.sampling import check_drawing, draw, probabilities
from symrnn.nn.cells import Cell, GRUCell
from symrnn.nn.layers import Dense, Embedding
from symrnn.nn.random import Noise
from symrnn.nn.recurrent import unroll


class Decoder:
    """A language model under a condition, the vector d.

    ::

        h_0 = tanh(d W_0 + b_0)
        h_t = cell([E[y_{t-1}], d], h_{t-1})        y_0 is a start token of its own
        p(y_t = i | y_1 ... y_{t-1}, d) = softmax(h_t W + b)_i

    With word drop (Bowman et al., 2016), in training each y_{t-1} is replaced, with a probability,
    by a token that stands for no other. So the decoder cannot rely on what was said before alone,
    and has to use d.

    Parameters
    ----------
    embedding
        Vectors of the tokens, of a start token and of one for what is dropped: two more than
        `n_tokens`.
    n_given, n_hidden
        Length of d, and units of the cell.
    rng
        Source of the initial weights.
    noise
        Source of what is dropped.
    cell
        Makes the cell: a class such as `symrnn.nn.cells.LSTMCell`, or any function
        ``(n_in, n_hidden, rng, name=...) -> cell``. Of its state h starts as above, the rest at 0.
    word_drop
        Which part of the tokens is replaced in training, within [0, 1].

    Attributes
    ----------
    params
        The decoder's weights; the embedding's are not among them.
    n_tokens
        How many tokens can be said.
    start
        Number of the start token: `n_tokens`.

    Raises
    ------
    ValueError
        If a size is below 1, or `word_drop` out of range.
    """

    def __init__(
        self,
        embedding: Embedding,
        n_given: int,
        n_hidden: int,
        rng: Generator,
        noise: Noise,
        cell: Callable[..., Cell] = GRUCell,
        word_drop: float = 0.0,
    ) -> None:
        if not 0 <= word_drop <= 1:
            raise ValueError(f"word_drop is {word_drop}, but must be within [0, 1], as a share")
        self.embedding, self.noise, self.word_drop = embedding, noise, word_drop
        self.n_tokens = self.start = embedding.n_tokens - 2
        self.first = Dense(n_given, n_hidden, rng=rng)
        self.cell = cell(embedding.n_features + n_given, n_hidden, rng, name="decoder")
        self.output = Dense(n_hidden, self.n_tokens, rng=rng)
        self.params = [*self.first.params, *self.cell.params, *self.output.params]

    def initial_state(self, d: TensorVariable) -> Any:
        """Return the state before the first step, of d, ``(batch, n_given)``."""
        zeros = self.cell.initial_state(d.shape[0])
        return type(zeros)(pt.tanh(self.first(d)), *zeros[1:])

    def logits(self, d: TensorVariable, target: Any, training: bool = False) -> TensorVariable:
        """Return h W + b of all steps, the right token being given before each.

        Parameters
        ----------
        d
            Shape ``(batch, n_given)``.
        target
            What is to be said, shape ``(steps, batch)``, integers.
        training
            Whether tokens are dropped; then compile with ``noise.updates``.

        Returns
        -------
        TensorVariable
            Shape ``(steps, batch, n_tokens)``.
        """
        target = pt.as_tensor_variable(target)
        before = target[:-1]
        if training and self.word_drop:
            dropped = self.noise.mask(self.word_drop, tuple(before.shape))
            before = pt.switch(dropped, self.n_tokens + 1, before)
        given = pt.concatenate([pt.full_like(target[:1], self.start), before])
        h, _ = unroll(self.cell, self._inputs(given, d), initial_state=self.initial_state(d))
        return self.output(h)

    def step(self, tokens: Any, d: TensorVariable, state: Any) -> tuple[TensorVariable, Any]:
        """Return the logits ``(batch, n_tokens)`` and the next state.

        Parameters
        ----------
        tokens
            What was said last, ``(batch,)``; at first `start`.
        d, state
            The vector, and the state so far; at first `initial_state`.
        """
        h, after = unroll(self.cell, self._inputs(tokens[None], d), initial_state=state)
        return self.output(h)[0], after

    def _inputs(self, tokens: TensorVariable, d: TensorVariable) -> TensorVariable:
        e = self.embedding(tokens)
        return pt.concatenate([e, pt.broadcast_to(d, (e.shape[0], *tuple(d.shape)))], axis=2)

    def compile_start(self, mode: Any = QUICK) -> Any:
        """Compile ``d -> state``, a list of its arrays."""
        d = pt.matrix("d", dtype=self.output.W.dtype)
        return pytensor.function([d], [*self.initial_state(d)], mode=mode)

    def compile_step(self, mode: Any = QUICK) -> Any:
        """Compile ``(tokens, d, *state) -> [log_p, *state]``, shapes as in `step`."""
        tokens, d = pt.lvector("tokens"), pt.matrix("d", dtype=self.output.W.dtype)
        state = self.cell.State(
            *(d.type(name) for name in self.cell.State._fields)  # type: ignore[attr-defined]
        )
        logits, after = self.step(tokens, d, state)
        log_p = pt.special.log_softmax(logits, axis=-1)
        return pytensor.function([tokens, d, *state], [log_p, *after], mode=mode)


class Writer:
    """Lets a `Decoder` write, one compiled step at a time.

    Parameters
    ----------
    decoder
        Its weights may change later, as in training.
    eos
        The number of the token that ends a text.
    mode
        As for `pytensor.function`, but not its default; not JAX, which needs to know all shapes.
    longest
        A text is cut off after so many tokens.
    banned
        Tokens that are never said, such as ``<unk>``; `eos` is not among them.

    Raises
    ------
    ValueError
        If `eos` or a banned token is no token of the decoder, `eos` is banned, or `longest` is no
        whole number from 1.
    """

    def __init__(
        self,
        decoder: Decoder,
        eos: int,
        mode: Any = QUICK,
        longest: int = 50,
        banned: Sequence[int] = (),
    ) -> None:
        for name, token in [("eos", eos), *(("a banned token", b) for b in banned)]:
            if not isinstance(token, int | np.integer) or not 0 <= token < decoder.n_tokens:
                raise ValueError(
                    f"{name} is {token}, but must be from 0 to {decoder.n_tokens - 1}, the number "
                    "of a token; vocabulary.eos is None if the vocabulary has no <eos>"
                )
        if eos in banned:
            raise ValueError(f"eos, {eos}, is banned, but every text must be able to end")
        check_whole("longest", longest)
        self.decoder, self.eos, self.longest = decoder, eos, longest
        self.banned = list(banned)
        self.begin, self.step = decoder.compile_start(mode), decoder.compile_step(mode)

    def write(
        self,
        d: ArrayLike,
        rng: Generator | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> list[list[int]]:
        """Write a text about each vector.

        Parameters
        ----------
        d
            Shape ``(batch, n_given)``.
        rng
            Source of random numbers, to draw each token. Default: greedy, at each step the most
            probable one.
        temperature, top_k, top_p
            How to draw, see `symrnn.models.sampling`. They need `rng`.

        Returns
        -------
        list of lists of int
            Token numbers of each text, without `eos`.

        Raises
        ------
        ValueError
            If d has another shape, a setting is out of range or given without `rng`, or the model's
            probabilities are NaN.
        TypeError
            If `rng` is no generator.
        """
        check_drawing(rng, self.decoder.n_tokens, temperature, top_k, top_p)
        rows: NDArray[Any] = np.asarray(d, dtype=self.decoder.output.W.dtype)
        if rows.ndim != 2 or rows.shape[1] != self.decoder.first.n_in or not len(rows):
            raise ValueError(
                f"the vectors have shape {rows.shape}, but must have (batch, n_given) = "
                f"(1 or more, {self.decoder.first.n_in})"
            )
        state = self.begin(rows)
        said: list[NDArray[np.int64]] = []
        tokens = np.full(len(rows), self.decoder.start)
        going = np.ones(len(rows), bool)
        while going.any() and len(said) < self.longest:
            log_p, *state = self.step(tokens, rows, *state)
            if np.isnan(log_p).any():
                raise ValueError("the model's probabilities are NaN: its training has gone wrong")
            log_p[:, self.banned] = -np.inf
            tokens = log_p.argmax(axis=1)
            if rng is not None:
                ps = (probabilities(r, temperature, top_k, top_p) for r in log_p.astype(float))
                tokens = np.array([draw(p, rng) for p in ps])
            going &= tokens != self.eos
            said.append(np.where(going, tokens, self.eos))
        columns = np.array(said).T.tolist()
        return [ids[: ids.index(self.eos)] if self.eos in ids else ids for ids in columns]
