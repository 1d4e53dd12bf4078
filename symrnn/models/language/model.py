"""A language model: a recurrent net that says how probable each token is as the next one."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_sizes
from symrnn.compiling.function import function
from symrnn.nn.cells import Cell, LSTMCell
from symrnn.nn.initializers import Initializer, uniform
from symrnn.nn.layers import Dense, Dropout, Embedding
from symrnn.nn.module import Module, parameter
from symrnn.nn.recurrent import stack
from symrnn.nn.states import CarriedState
from symrnn.nn.wrappers import VariationalDropout
from symrnn.training.losses import categorical_cross_entropy
from symrnn.training.optimizers import Optimizer


class LanguageModel(Module):
    """Embedding, recurrent layers, output (Mikolov et al., 2010; Zaremba et al., 2014).

    ::

        e_t     = D(E[x_t])
        h_t^1   = cell_1(e_t, h_{t-1}^1)        h_t^k = cell_k(D(h_t^{k-1}), h_{t-1}^k)
        z_t     = D(h_t^K) W + b                with tied weights D(h_t^K) E^T + b
        p(x_{t+1} = i | x_1 ... x_t) = softmax(z_t)_i

    D is dropout in training, and the identity at inference. (With `variational`, ``W_h`` too sees
    ``D(h_{t-1}^k)``.)

    Parameters
    ----------
    n_tokens
        Size of the vocabulary.
    n_embed
        Embedding size: how many features the vector of a token has.
    n_hidden
        Hidden units of each layer.
    rng
        Source of the initial weights, and of dropout's masks.
    n_layers
        Number of recurrent layers, at least 1.
    cell
        Makes a layer's cell: a class such as `symrnn.GRUCell`, or any function
        ``(n_in, n_hidden, *, rng) -> cell``.
    dropout
        Fraction of features dropped in training, within [0, 1).
    variational
        False draws a new mask at each step, for the input of the first layer, between the layers
        and for the output, but none along time. True draws one mask for all steps of a batch, and
        uses it in the product with W_h too (variational dropout: Gal and Ghahramani, 2016).
    tied
        True uses the embedding's weights for the output too (weight tying: Inan et al., 2017; Press
        and Wolf, 2017): ``n_embed * n_tokens`` weights less, and `n_hidden` must be `n_embed`.
    W_embed
        Initializer of the embedding, from `symrnn.initializers`. With a large scale, such as
        ``partial(normal, std=1.0)``, character-level models learn much faster.

    Attributes
    ----------
    embedding : Embedding
        E.
    cells : list of Cell
        From the bottom up.
    output : Dense or None
        W and b. With tied weights there is only ``b``.

    Examples
    --------
    >>> from symrnn.training.optimizers import adam
    >>> model = LanguageModel(3, 4, 8, rng=np.random.default_rng(1))
    >>> carried = model.carry(batch_size=1)
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.05), carried)
    >>> x, t = np.array([[0], [1], [2]]), np.array([[1], [2], [0]])  # (time, batch)
    >>> losses = [float(step(x, t)) for _ in range(60)]
    >>> losses[0] > 1, losses[-1] < 0.1
    (True, True)
    >>> next_token = model.compile_next()
    >>> log_p, *state = next_token(np.array([0]), *model.zeros(batch_size=1))
    >>> log_p.shape, int(log_p.argmax())
    ((1, 3), 1)
    """

    def __init__(
        self,
        n_tokens: int,
        n_embed: int,
        n_hidden: int,
        *,
        rng: Generator,
        n_layers: int = 1,
        cell: Callable[..., Cell] = LSTMCell,
        dropout: float = 0.0,
        variational: bool = False,
        tied: bool = False,
        W_embed: Initializer = uniform,
    ) -> None:
        check_sizes(n_tokens=n_tokens, n_embed=n_embed, n_hidden=n_hidden, n_layers=n_layers)
        if tied and n_hidden != n_embed:
            raise ValueError(
                f"n_hidden is {n_hidden} and n_embed {n_embed}, but with tied weights they must be "
                "equal: the embedding's weights are those of the output too"
            )
        self.n_tokens, self.tied, self.variational = n_tokens, tied, variational
        self.embedding = Embedding(n_tokens, n_embed, rng=rng, W=W_embed)
        self.cells = [cell(n_hidden if k else n_embed, n_hidden, rng=rng) for k in range(n_layers)]
        self.output = None if tied else Dense(n_hidden, n_tokens, rng=rng)
        self.b = parameter("b", (n_tokens,), np.zeros(n_tokens)) if tied else None
        self.dropout = Dropout(dropout, rng=rng, shared_over_time=variational)

    def logits(
        self, x: Any, *, initial_state: Sequence[Any] | None = None, training: bool = False
    ) -> tuple[TensorVariable, list[Any]]:
        """Return z and the final states.

        Parameters
        ----------
        x
            Token ids, shape ``(time, batch)``, integers from 0 to ``n_tokens - 1``.
        initial_state
            The state of each layer before the first step; default: zeros.
        training
            True applies dropout.

        Returns
        -------
        z : TensorVariable
            Shape ``(time, batch, n_tokens)``.
        states : list
            The state of each layer after the last step.
        """
        rate = self.dropout.rate if training else 0.0

        def drop(h: TensorVariable) -> TensorVariable:
            return self.dropout(h, training=True) if rate else h

        e = drop(self.embedding(x))
        if rate and self.variational:
            h, states = self._variational(e, initial_state)
        else:
            h, states = stack(self.cells, e, initial_state=initial_state, between=drop)
            h = drop(h)
        if self.output is not None:
            return self.output(h), states
        time, batch, n_hidden = h.shape
        z = h.reshape((time * batch, n_hidden)) @ self.embedding.W.T + self.b
        return z.reshape((time, batch, self.n_tokens)), states

    def _variational(
        self, e: TensorVariable, initial_state: Sequence[Any] | None
    ) -> tuple[TensorVariable, list[Any]]:
        """The layers with one mask each for all steps, for the layer above and for W_h."""
        rate, rng = self.dropout.rate, self.dropout.rng
        cells = [VariationalDropout(cell, rate, rng=rng) for cell in self.cells]
        if initial_state is not None:
            initial_state = [c.start(s) for c, s in zip(cells, initial_state, strict=True)]
        h, states = stack(cells, e, initial_state=initial_state)
        return h, [c.inner(s) for c, s in zip(cells, states, strict=True)]

    def carry(self, batch_size: int) -> list[CarriedState]:
        """Return a carried state for each layer: what goes from one call to the next.

        Parameters
        ----------
        batch_size
            Number of batch streams: texts that are read side by side.
        """
        return [CarriedState(cell, batch_size) for cell in self.cells]

    def loss(
        self, carried: Sequence[CarriedState], *, training: bool
    ) -> tuple[list[TensorVariable], TensorVariable, dict[Any, Any]]:
        """Build the graph of the loss on a segment of the batch streams.

        Parameters
        ----------
        carried
            What `carry` returned: the states before the first step. The gradient stops there.
        training
            True applies dropout.

        Returns
        -------
        inputs : list of TensorVariable
            x and t: token ids and those that follow them, each ``(time, batch)``, int64.
        loss : TensorVariable
            Their mean cross-entropy in nats. Its exponential is the perplexity.
        updates : dict
            The carried states' values after the last step.
        """
        x, t = pt.lmatrix("x"), pt.lmatrix("t")
        z, final = self.logits(x, initial_state=[c.state for c in carried], training=training)
        loss = categorical_cross_entropy(z, t)
        loss.name = "loss"
        updates: dict[Any, Any] = {}
        for c, state in zip(carried, final, strict=True):
            updates |= c.updates(state)
        return [x, t], loss, updates

    def compile_training(
        self, optimizer: Optimizer, carried: Sequence[CarriedState], *, mode: Any = None
    ) -> Any:
        """Compile a step of truncated backpropagation through time.

        Parameters
        ----------
        optimizer
            A function ``(loss, params) -> updates``, for example
            ``lambda loss, params: adam(loss, params, 0.003)``.
        carried
            What `carry` returned. A segment starts in the state in which the last one ended, and
            the gradient stops there (Williams and Peng, 1990). Reset it where a text begins.
        mode
            As for `symrnn.function`.

        Returns
        -------
        function
            ``(x, t) -> loss``: token ids and those that follow them, each ``(time, batch)``, int64,
            and the mean cross-entropy in nats, before the update. Its exponential is the
            perplexity.
        """
        inputs, loss, updates = self.loss(carried, training=True)
        return function(inputs, loss, updates | optimizer(loss, self.params), mode=mode)

    def compile_evaluation(self, carried: Sequence[CarriedState], *, mode: Any = None) -> Any:
        """Compile ``(x, t) -> loss`` without dropout; only the carried states change.

        Parameters
        ----------
        carried
            What `carry` returned.
        mode
            As for `symrnn.function`.
        """
        inputs, loss, updates = self.loss(carried, training=False)
        return function(inputs, loss, updates, mode=mode)

    def compile_next(self, *, mode: Any = None) -> Any:
        """Compile one step of inference, with the state as input and output.

        Parameters
        ----------
        mode
            As for `symrnn.function`.

        Returns
        -------
        function
            ``(tokens, *state) -> [log_p, *state]``: token ids ``(batch,)``, int64; the state as
            arrays ``(batch, n_hidden)``, at first those of `zeros`; and log_p
            ``(batch, n_tokens)``, the log probability of each token as the next one.
        """
        tokens = pt.lvector("tokens")
        before = [
            c.State(*(pt.matrix(name, dtype=c.W_h.dtype) for name in c.State._fields))  # type: ignore[attr-defined]
            for c in self.cells
        ]
        z, after = self.logits(tokens[None], initial_state=before)
        return function(
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
    """Return the mean loss per token of all batches, which may differ in length.

    Parameters
    ----------
    evaluate
        What `LanguageModel.compile_evaluation` returned; its states are those of the first batch.
    batches
        Pairs x and t, in order, at least one.
    """
    total, n = 0.0, 0
    for x, t in batches:
        total += float(evaluate(x, t)) * np.size(t)
        n += np.size(t)
    if not n:
        raise ValueError("there is no batch to evaluate: the text is shorter than a segment")
    return total / n
