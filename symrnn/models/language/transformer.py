"""A language model of attention alone: the decoder of a Transformer, without an encoder."""

from typing import Any

import numpy as np
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_whole
from symrnn.compiling.function import function
from symrnn.compiling.modes import QUICK
from symrnn.models.seq2seq.transformer import Tokens
from symrnn.nn.layers import Dense, Dropout, LayerNorm
from symrnn.nn.module import Module, parameter
from symrnn.nn.transformer import TransformerLayer
from symrnn.training.losses import categorical_cross_entropy
from symrnn.training.optimizers import Optimizer


class TransformerLM(Module):
    """Tokens with positions, layers of causal attention, output (Radford et al., 2018).

    ::

        x_t = D(sqrt(n) E[token_t] + p_t)
        h   = layers(x)                         h_t depends on x_1 ... x_t alone
        z_t = h_t W + b                         with tied weights h_t E^T + b
        p(token_{t+1} = i | token_1 ... token_t) = softmax(z_t)_i

    Unlike a recurrent net it begins anew with each window: nothing is carried from the windows
    before. `symrnn.models.language.generation.Writer` lets it write. Then its state is not of constant size:
    it holds keys and values of all that was read and written. Beyond the length of the windows that
    it was trained on it soon writes nonsense, for it has never seen the positions there (lesson 22
    shows it): train on windows as long as what you want to be written, prompt included.

    Texts of different lengths can share a batch: fill them up at the end, with any token, which no
    step before sees, and give a mask to the loss alone,
    ``categorical_cross_entropy(model.logits(x)[0], t, mask)``.

    Parameters
    ----------
    n_tokens
        Size of the vocabulary.
    n_features, n_heads, rng, n_layers, n_hidden, norm, activation, positions, tied, dropout
        As for `symrnn.models.seq2seq.transformer.Transformer`.

    Attributes
    ----------
    params
        All weights, in order.
    layers
        Each a `symrnn.nn.transformer.TransformerLayer`.

    Raises
    ------
    ValueError
        If a size is below 1, `n_heads` does not divide `n_features`, or an option is not as said.

    Examples
    --------
    >>> from symrnn.compiling.modes import QUICK
    >>> from symrnn.training.optimizers import adam
    >>> model = TransformerLM(n_tokens=3, n_features=8, n_heads=2, rng=np.random.default_rng(2),
    ...                       n_layers=1)
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.01),
    ...                               mode=QUICK)
    >>> x, t = np.array([[0], [1], [2]]), np.array([[1], [2], [0]])  # (time, batch)
    >>> losses = [float(step(x, t)) for _ in range(30)]
    >>> losses[0] > 0.5, losses[-1] < 0.1
    (True, True)
    >>> next_token = model.compile_next(mode=QUICK)
    >>> log_p, *state = next_token(np.array([0]), *model.zeros(batch_size=1))
    >>> log_p.shape, int(log_p.argmax()), state[0].shape
    ((1, 3), 1, (1, 1, 16))
    """

    def __init__(
        self,
        n_tokens: int,
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
        self.n_tokens, self.n_features, self.tied = n_tokens, n_features, tied
        self.tokens = Tokens(n_tokens, n_features, positions, rng)
        self.layers = [
            TransformerLayer(
                n_features, n_heads, n_hidden, rng=rng, norm=norm,
                activation=activation,
            )
            for k in range(n_layers)
        ]  # fmt: skip
        self.norm = LayerNorm(n_features) if norm == "pre" else None
        self.output = None if tied else Dense(n_features, n_tokens, rng=rng)
        self.b = parameter("b", (n_tokens,), np.zeros(n_tokens)) if tied else None
        self.dropout = Dropout(dropout, rng=rng)

    def logits(
        self, x: Any, past: list[Any] | None = None, training: bool = False
    ) -> tuple[TensorVariable, list[TensorVariable]]:
        """Return z, and keys and values of each layer for all tokens so far.

        Parameters
        ----------
        x
            Tokens, shape ``(time, batch)``, integers from 0 to ``n_tokens - 1``.
        past
            Keys and values of the tokens before those of x, as an earlier call returned them, each
            ``(steps, batch, 2 n_features)``; default: none.
        training
            Whether dropout is at work; then compile with ``model.noise.updates``.

        Returns
        -------
        z : TensorVariable
            Shape ``(time, batch, n_tokens)``.
        so_far : list of TensorVariable
            For each layer.

        Raises
        ------
        TypeError, ValueError
            If the tokens are no integers, there is no such token or no position for it, none is
            given, or `past` does not fit: as far as that is not known yet, when the compiled
            function is called.
        """
        rate = self.dropout.rate if training else 0.0

        def drop(h: TensorVariable) -> TensorVariable:
            return self.dropout(h, training=True) if rate else h

        h = drop(self.tokens(x, first=0 if past is None else past[0].shape[0]))
        so_far = []
        for k, layer in enumerate(self.layers):
            before = None if past is None else past[k]
            h, keys_values, _ = layer(h, causal=True, past=before, drop=drop)
            so_far.append(keys_values)
        h = h if self.norm is None else self.norm(h)
        return self.tokens.scores(h) + self.b if self.output is None else self.output(h), so_far

    def compile_training(self, optimizer: Optimizer, mode: Any = QUICK) -> Any:
        """Compile a step of training.

        Parameters
        ----------
        optimizer
            A function (loss, params) -> updates, for example
            ``lambda loss, params: adam(loss, params, 0.003)``.
        mode
            As for `pytensor.function`, but not its default: see `Transformer.compile_training`.

        Returns
        -------
        function
            ``(x, t) -> loss``: tokens and those that follow them, each ``(time, batch)``, int64,
            and the mean cross-entropy in nats, before the update.
        """
        x, t, loss = self._loss(training=True)
        return function([x, t], loss, updates=optimizer(loss, self.params), mode=mode)

    def compile_evaluation(self, mode: Any = QUICK) -> Any:
        """Compile ``(x, t) -> loss`` without dropout."""
        x, t, loss = self._loss(training=False)
        return function([x, t], loss, mode=mode)

    def _loss(self, training: bool) -> tuple[TensorVariable, TensorVariable, TensorVariable]:
        x, t = pt.lmatrix("x"), pt.lmatrix("t")
        loss = categorical_cross_entropy(self.logits(x, training=training)[0], t)
        loss.name = "loss"
        return x, t, loss

    def compile_next(self, mode: Any = QUICK) -> Any:
        """Compile one step of use, with what was read so far carried in and out.

        `mode` is as for `compile_training`.

        Returns
        -------
        function
            ``(tokens, *state) -> [log_p, *state]``: tokens ``(batch,)``, int64; the state as arrays
            ``(batch, steps, 2 n_features)``, keys and values of each layer, at first those of
            `zeros`, which grow by a step with each call; and log_p ``(batch, n_tokens)``, the log
            probability of each token as the next one.
        """
        tokens = pt.lvector("tokens")
        dtype = self.params[0].dtype
        before = [pt.tensor3(f"past{k + 1}", dtype=dtype) for k in range(len(self.layers))]
        z, after = self.logits(tokens[None], [a.transpose(1, 0, 2) for a in before])
        log_p = pt.special.log_softmax(z[0], axis=-1)
        return function(
            [tokens, *before], [log_p, *(a.transpose(1, 0, 2) for a in after)], mode=mode
        )

    def zeros(self, batch_size: int) -> list[Any]:
        """Return the state in which a text begins, as arrays: of no step yet."""
        shape, dtype = (batch_size, 0, 2 * self.n_features), self.params[0].dtype
        return [np.zeros(shape, dtype=dtype) for _ in self.layers]
