"""A language model of attention alone: the decoder of a Transformer, without an encoder."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.tensor.variable import TensorVariable

from symrnn.compiling.function import function
from symrnn.nn.layers import Dense, Dropout
from symrnn.nn.module import Module, parameter
from symrnn.nn.transformer import Tokens, TransformerStack
from symrnn.training.losses import categorical_cross_entropy
from symrnn.training.optimizers import Optimizer


class TransformerLM(Module):
    """Tokens with positions, layers of causal attention, output (Radford et al., 2018).

    ::

        x_t = D(sqrt(n) E[token_t] + p_t)
        h   = layers(x)                         h_t depends on x_1 ... x_t alone
        z_t = h_t W + b                         with tied weights h_t E^T + b
        p(token_{t+1} = i | token_1 ... token_t) = softmax(z_t)_i

    Unlike a recurrent net it starts again with each window: nothing is carried over from those
    before. `symrnn.TextGenerator` generates text with it. Its state then grows: it holds keys and
    values of all tokens that were read and generated. Beyond the length of the windows that it was
    trained on, where it has never seen the positions, it soon generates nonsense (lesson 22 shows
    it): train on windows as long as the texts to be generated, prompt included.

    Texts of different lengths can share a batch: pad them at the end with any token, which no step
    before it sees, and give a mask to the loss alone:
    ``categorical_cross_entropy(model.logits(x)[0], t, mask=mask)``.

    Parameters
    ----------
    n_tokens
        Size of the vocabulary.
    n_features
        n, the size of all vectors from the embedding to the output; even, for sines.
    n_heads
        Heads of the attention; the number must divide `n_features`.
    rng
        Source of the initial weights, and of dropout's masks.
    n_layers
        Number of layers, at least 1.
    n_hidden
        Hidden units of the feed-forward nets. Default: 4 n.
    norm
        ``"pre"`` or ``"post"``, where the layers are normalised; see `symrnn.TransformerLayer`.
    activation
        Of the feed-forward nets: ``"relu"`` or ``"gelu"``.
    n_positions
        None: sines, for any length. A number: so many learned positions, and nothing longer can be
        read or generated.
    tied
        True uses the embedding's weights for the output too (weight tying: Press and Wolf, 2017).
    dropout
        Fraction of features dropped in training, within [0, 1): of the sums with the positions, and
        of the result of each part of a layer.

    Attributes
    ----------
    tokens : Tokens
        E with its positions.
    decoder : TransformerStack
        With its ``layers``.
    output : Dense or None
        W and b. With tied weights there is only ``b``.

    Examples
    --------
    >>> from symrnn.training.optimizers import adam
    >>> model = TransformerLM(3, 8, 2, rng=np.random.default_rng(2), n_layers=1)
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.01))
    >>> x, t = np.array([[0], [1], [2]]), np.array([[1], [2], [0]])  # (time, batch)
    >>> losses = [float(step(x, t)) for _ in range(30)]
    >>> losses[0] > 0.5, losses[-1] < 0.1
    (True, True)
    >>> next_token = model.compile_next()
    >>> log_p, *state = next_token(np.array([0]), *model.zeros(batch_size=1))
    >>> log_p.shape, int(log_p.argmax()), state[0].shape
    ((1, 3), 1, (1, 1, 16))
    """

    def __init__(
        self,
        n_tokens: int,
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
        self.n_tokens, self.n_features = n_tokens, n_features
        self.n_positions, self.tied = n_positions, tied
        self.tokens = Tokens(n_tokens, n_features, rng=rng, n_positions=n_positions)
        self.decoder = TransformerStack(
            n_features, n_heads, n_hidden, rng=rng, n_layers=n_layers, norm=norm,
            activation=activation,
        )  # fmt: skip
        self.output = None if tied else Dense(n_features, n_tokens, rng=rng)
        self.b = parameter("b", (n_tokens,), np.zeros(n_tokens)) if tied else None
        self.dropout = Dropout(dropout, rng=rng)

    def logits(
        self, x: Any, *, past: Sequence[Any] | None = None, training: bool = False
    ) -> tuple[TensorVariable, list[TensorVariable]]:
        """Return z, and keys and values of each layer for all tokens so far.

        Parameters
        ----------
        x
            Token ids, shape ``(time, batch)``, integers from 0 to ``n_tokens - 1``.
        past
            Keys and values of the tokens before those of x, as an earlier call returned them, each
            ``(steps, batch, 2 n_features)``; default: none.
        training
            True applies dropout.

        Returns
        -------
        z : TensorVariable
            Shape ``(time, batch, n_tokens)``.
        keys_values : list of TensorVariable
            For each layer, `past` and what follows it.
        """
        drop = partial(self.dropout, training=training)
        x = drop(self.tokens(x, first=0 if past is None else past[0].shape[0]))
        h, keys_values, _ = self.decoder(x, causal=True, past=past, dropout=drop)
        z = self.tokens.scores(h) + self.b if self.output is None else self.output(h)
        return z, keys_values

    def loss(self, x: Any, t: Any, *, training: bool = False) -> TensorVariable:
        """Return the mean cross-entropy of the next tokens, in nats.

        Parameters
        ----------
        x, t
            Token ids and those that follow them, each ``(time, batch)``, integers.
        training
            True applies dropout.
        """
        loss = categorical_cross_entropy(self.logits(x, training=training)[0], t)
        loss.name = "loss"
        return loss

    def compile_training(self, optimizer: Optimizer, *, mode: Any = None) -> Any:
        """Compile a training step.

        Parameters
        ----------
        optimizer
            A function ``(loss, params) -> updates``, for example
            ``lambda loss, params: adam(loss, params, 0.003)``.
        mode
            As for `symrnn.function`; leave out NUMBA, see `symrnn.Transformer`.

        Returns
        -------
        function
            ``(x, t) -> loss``: token ids and those that follow them, each ``(time, batch)``, int64,
            and the mean cross-entropy in nats, before the update.
        """
        x, t = pt.lmatrix("x"), pt.lmatrix("t")
        loss = self.loss(x, t, training=True)
        return function([x, t], loss, updates=optimizer(loss, self.params), mode=mode)

    def compile_evaluation(self, *, mode: Any = None) -> Any:
        """Compile ``(x, t) -> loss`` without dropout.

        Parameters
        ----------
        mode
            As for `symrnn.function`.
        """
        x, t = pt.lmatrix("x"), pt.lmatrix("t")
        return function([x, t], self.loss(x, t), mode=mode)

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
            arrays ``(batch, steps, 2 n_features)``, keys and values of each layer, at first those
            of `zeros`, which grow by a step with each call; and log_p ``(batch, n_tokens)``, the
            log probability of each token as the next one.
        """
        tokens = pt.lvector("tokens")
        dtype = self.params[0].dtype
        before = [pt.tensor3(f"past.{k}", dtype=dtype) for k in range(len(self.decoder.layers))]
        z, after = self.logits(tokens[None], past=[a.transpose(1, 0, 2) for a in before])
        log_p = pt.special.log_softmax(z[0], axis=-1)
        return function(
            [tokens, *before], [log_p, *(a.transpose(1, 0, 2) for a in after)], mode=mode
        )

    def zeros(self, batch_size: int) -> list[Any]:
        """Return the state in which a text begins, as arrays: of no step yet."""
        shape, dtype = (batch_size, 0, 2 * self.n_features), self.params[0].dtype
        return [np.zeros(shape, dtype=dtype) for _ in self.decoder.layers]
