"""A language model: a recurrent net that says how probable each token is as the next one."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.tensor.variable import TensorVariable

from symrnn.nn.cells import Cell, LSTMCell
from symrnn.nn.initializers import Initializer, uniform
from symrnn.nn.layers import Dense, Dropout, Embedding
from symrnn.nn.module import parameter
from symrnn.nn.random import Noise
from symrnn.nn.recurrent import stack
from symrnn.nn.states import CarriedState
from symrnn.nn.wrappers import VariationalDropout
from symrnn.training.losses import categorical_cross_entropy
from symrnn.training.optimizers import Optimizer


class LanguageModel:
    """Embedding, recurrent layers, output (Mikolov et al., 2010; Zaremba et al., 2014).

    ::

        e_t     = D(E[x_t])
        h_t^1   = cell_1(e_t, h_{t-1}^1)        h_t^k = cell_k(D(h_t^{k-1}), h_{t-1}^k)
        z_t     = D(h_t^K) W + b                with tied weights D(h_t^K) E^T + b
        p(x_{t+1} = i | x_1 ... x_t) = softmax(z_t)_i

    D is dropout in training, and nothing in use. (With `variational`, ``W_h`` too sees
    ``D(h_{t-1}^k)``.)

    Parameters
    ----------
    n_tokens
        Size of the vocabulary.
    n_embed, n_hidden
        Length of a token's vector, and units of each layer.
    rng
        Source of the initial weights, and of the masks' seeds.
    n_layers
        How many recurrent layers, at least 1.
    cell
        Makes a layer: a class such as `symrnn.nn.cells.GRUCell`, or any function
        ``(n_in, n_hidden, rng, name=...) -> cell``.
    dropout
        Which part of the features is left out in training, within [0, 1).
    variational
        False draws new ones at each step, on the way into the first layer, between the layers and
        to the output, but not along time. True leaves out the same ones at all steps of a batch,
        and in the product with W_h too (Gal and Ghahramani, 2016).
    tied
        True takes the embedding's weights for the output too (Inan et al., 2017; Press and Wolf,
        2017): ``n_embed * n_tokens`` weights less, and `n_hidden` must be `n_embed`.
    W_embed
        Makes the first vectors of the tokens, from `symrnn.nn.initializers`. Large ones, such as
        ``partial(normal, std=1.0)``, let models of characters learn much faster.

    Attributes
    ----------
    params
        All weights, in order.
    cells, embedding
        The layers.
    noise
        Source of the masks.

    Raises
    ------
    ValueError
        If a size is below 1, the rate out of range, or `n_hidden` is not `n_embed` where tied.

    Examples
    --------
    >>> from symrnn.training.optimizers import adam
    >>> model = LanguageModel(n_tokens=3, n_embed=4, n_hidden=8, rng=np.random.default_rng(1))
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.05),
    ...                               model.carry(batch_size=1), mode="FAST_COMPILE")
    >>> x, t = np.array([[0], [1], [2]]), np.array([[1], [2], [0]])  # (time, batch)
    >>> losses = [float(step(x, t)) for _ in range(60)]
    >>> losses[0] > 1, losses[-1] < 0.1
    (True, True)
    >>> next_token = model.compile_next(mode="FAST_COMPILE")
    >>> log_p, *state = next_token(np.array([0]), *model.zeros(batch_size=1))
    >>> log_p.shape, int(log_p.argmax())
    ((1, 3), 1)
    """

    def __init__(
        self,
        n_tokens: int,
        n_embed: int,
        n_hidden: int,
        rng: Generator,
        n_layers: int = 1,
        cell: Callable[..., Cell] = LSTMCell,
        dropout: float = 0.0,
        variational: bool = False,
        tied: bool = False,
        W_embed: Initializer = uniform,
    ) -> None:
        if n_layers < 1:
            raise ValueError(f"n_layers is {n_layers}, but must be 1 or more")
        if tied and n_hidden != n_embed:
            raise ValueError(
                f"tied weights need as many hidden units as a token's vector has numbers, but "
                f"n_hidden is {n_hidden} and n_embed {n_embed}"
            )
        self.n_tokens, self.tied, self.variational = n_tokens, tied, variational
        self.embedding = Embedding(n_tokens, n_embed, rng=rng, W=W_embed)
        widths = [n_embed, *[n_hidden] * n_layers]
        self.cells = [
            cell(widths[k], widths[k + 1], rng, name=f"layer{k + 1}") for k in range(n_layers)
        ]
        self.params = [*self.embedding.params, *(p for c in self.cells for p in c.params)]
        self.output: Dense | None = None
        if tied:
            self.b = parameter("output.b", (n_tokens,), np.zeros(n_tokens))
            self.params.append(self.b)
        else:
            self.output = Dense(n_hidden, n_tokens, rng=rng)
            self.params += self.output.params
        self.noise = Noise(rng)
        self.dropout = Dropout(dropout, rng=self.noise, shared_over_time=variational)

    def logits(
        self, x: Any, initial_state: Sequence[Any] | None = None, training: bool = False
    ) -> tuple[TensorVariable, list[Any]]:
        """Return z and the final states.

        Parameters
        ----------
        x
            Tokens, shape ``(time, batch)``, integers from 0 to ``n_tokens - 1``.
        initial_state
            The state of each layer before the first step; default: zeros.
        training
            Whether dropout is at work; then compile with ``model.noise.updates``.

        Returns
        -------
        z : TensorVariable
            Shape ``(time, batch, n_tokens)``.
        states
            The state of each layer after the last step.
        """
        rate = self.dropout.rate if training else 0.0

        def drop(h: TensorVariable) -> TensorVariable:
            return self.dropout(h, training=True) if rate else h

        e = drop(self.embedding(x))
        if rate and self.variational:
            h, states = self._variational(e, initial_state)
        else:
            h, states = stack(self.cells, e, initial_state, between=drop)
            h = drop(h)
        if self.output is not None:
            return self.output(h), states
        time, batch, _ = h.shape
        z = h.reshape((time * batch, h.shape[2])) @ self.embedding.W.T + self.b
        return z.reshape((time, batch, self.n_tokens)), states

    def _variational(
        self, e: TensorVariable, initial_state: Sequence[Any] | None
    ) -> tuple[TensorVariable, list[Any]]:
        """The layers with one mask each for all steps: on what goes up and what goes on."""
        cells = [VariationalDropout(cell, self.dropout.rate, rng=self.noise) for cell in self.cells]
        if initial_state is not None:
            initial_state = [c.start(s) for c, s in zip(cells, initial_state, strict=True)]
        h, states = stack(cells, e, initial_state)
        return h, [c.inner(s) for c, s in zip(cells, states, strict=True)]

    def carry(self, batch_size: int) -> list[CarriedState]:
        """Return states that go from one call of a function to the next: of `batch_size` texts."""
        return [CarriedState(cell, batch_size) for cell in self.cells]

    def compile_training(
        self, optimizer: Optimizer, carried: Sequence[CarriedState], mode: Any = None
    ) -> Any:
        """Compile a step of truncated backpropagation through time.

        Parameters
        ----------
        optimizer
            A function (loss, params) -> updates, for example
            ``lambda loss, params: adam(loss, params, 0.003)``.
        carried
            What `carry` returned. The states go on where the last batch ended, but the gradient
            stops there (Williams and Peng, 1990). Reset them where a text begins.
        mode
            As for `pytensor.function`.

        Returns
        -------
        function
            ``(x, t) -> loss``: tokens and those that follow them, each ``(time, batch)``, and the
            mean cross-entropy in nats, before the update. Its exponential is the perplexity.
        """
        others = set(self.noise.updates)  # masks of graphs that were built before
        x, t, loss, updates = self._loss(carried, training=True)
        masks = {rng: after for rng, after in self.noise.updates.items() if rng not in others}
        updates |= optimizer(loss, self.params) | masks
        return pytensor.function([x, t], loss, updates=updates, mode=mode)

    def compile_evaluation(self, carried: Sequence[CarriedState], mode: Any = None) -> Any:
        """Compile ``(x, t) -> loss`` without dropout; only the carried states change."""
        x, t, loss, updates = self._loss(carried, training=False)
        return pytensor.function([x, t], loss, updates=updates, mode=mode)

    def _loss(
        self, carried: Sequence[CarriedState], training: bool
    ) -> tuple[TensorVariable, TensorVariable, TensorVariable, dict[Any, Any]]:
        x, t = pt.lmatrix("x"), pt.lmatrix("t")
        z, final = self.logits(x, [c.state for c in carried], training)
        loss = categorical_cross_entropy(z, t)
        loss.name = "loss"
        updates: dict[Any, Any] = {}
        for c, state in zip(carried, final, strict=True):
            updates |= c.updates(state)
        return x, t, loss, updates

    def compile_next(self, mode: Any = None) -> Any:
        """Compile one step of use, with the state carried in and out.

        Returns
        -------
        function
            ``(tokens, *state) -> [log_p, *state]``: tokens ``(batch,)``, int64; the state as arrays
            ``(batch, n_hidden)``, at first those of `zeros`; and log_p ``(batch, n_tokens)``, the
            log probability of each token as the next one.
        """
        tokens = pt.lvector("tokens")
        before = [
            c.State(*(pt.matrix(name, dtype=c.W_h.dtype) for name in c.State._fields))  # type: ignore[attr-defined]
            for c in self.cells
        ]
        z, after = self.logits(tokens[None], before)
        return pytensor.function(
            [tokens, *(v for state in before for v in state)],
            [pt.special.log_softmax(z[0], axis=-1), *(v for state in after for v in state)],
            mode=mode,
        )

    def zeros(self, batch_size: int) -> list[Any]:
        """Return the state in which a text begins, as arrays."""
        return [
            np.zeros((batch_size, c.n_hidden), dtype=c.W_h.dtype)
            for c in self.cells
            for _ in c.State._fields  # type: ignore[attr-defined]
        ]


def mean_loss(evaluate: Any, batches: Iterable[tuple[Any, Any]]) -> float:
    """Return the mean loss of all tokens: batches may differ in length.

    Parameters
    ----------
    evaluate
        What `LanguageModel.compile_evaluation` returned; its states are those of the first batch.
    batches
        Pairs x and t, in order, at least one.

    Raises
    ------
    ValueError
        If there is no batch.
    """
    total, n = 0.0, 0
    for x, t in batches:
        total += float(evaluate(x, t)) * np.size(t)
        n += np.size(t)
    if not n:
        raise ValueError("there is no batch to evaluate: the text is shorter than a window")
    return total / n
