"""Variational autoencoders, for vectors and for sequences: z ~ N(0, I), and x is made of z."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn.compiling.modes import QUICK
from symrnn.models.decoder import Decoder
from symrnn.models.seq2seq.model import LARGE
from symrnn.models.vae.variational import Gaussian, GaussianLayer, Terms, Variational
from symrnn.nn.cells import Cell, GRUCell
from symrnn.nn.initializers import Initializer
from symrnn.nn.inputs import padding_last
from symrnn.nn.layers import Dense, Embedding
from symrnn.nn.module import parameter
from symrnn.nn.random import Noise
from symrnn.nn.recurrent import unroll
from symrnn.training.losses import (
    binary_cross_entropy,
    categorical_cross_entropy,
    gaussian_kl,
    sum_squared_error,
)

OUTPUTS = ("bernoulli", "gaussian")


class VAE(Variational):
    """Variational autoencoder for vectors (Kingma and Welling, 2014).

    ::

        q(z | x) = N(mean, diag(exp(log_variance)))     of h = tanh(x W_1 + b_1), see GaussianLayer
        p(z)     = N(0, I)
        y        = tanh(z W_2 + b_2) W + b
        p(x | z) = prod_i sigmoid(y_i)^x_i (1 - sigmoid(y_i))^(1 - x_i)     outputs="bernoulli"
        p(x | z) = N(x; y, diag(exp(log_sigma_2)))                          outputs="gaussian"

    Parameters
    ----------
    n_in, n_hidden, n_latent
        Lengths of x, of both hidden layers, and of z.
    rng
        Source of the initial weights, and of the draws' seeds.
    outputs
        ``"bernoulli"`` for x within [0, 1], such as black and white pixels, or ``"gaussian"``,
        whose variances ``exp(log_sigma_2)`` are learnt, one for each feature.

    Attributes
    ----------
    params
        All weights, in order.
    noise
        Source of the draws of z.

    Raises
    ------
    ValueError
        If a size is below 1, or `outputs` none of those.

    Examples
    --------
    >>> from symrnn.training.optimizers import adam
    >>> model = VAE(4, 16, 1, np.random.default_rng(1))
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.03),
    ...                               mode="FAST_COMPILE")
    >>> x = np.repeat(np.eye(4), 5, axis=0)  # (batch, features)
    >>> losses = [step(x)[0] for _ in range(300)]
    >>> bool(losses[0] > 2.7), bool(np.mean(losses[-20:]) < 2.3)
    (True, True)
    """

    def __init__(
        self, n_in: int, n_hidden: int, n_latent: int, rng: Generator, outputs: str = "bernoulli"
    ) -> None:
        if outputs not in OUTPUTS:
            raise ValueError(f"outputs is {outputs!r}, but must be one of {', '.join(OUTPUTS)}")
        if n_hidden < 1:
            raise ValueError(f"n_hidden is {n_hidden}, but must be at least 1")
        self.outputs, self.n_in, self.n_latent = outputs, n_in, n_latent
        self.encoder = GaussianLayer(n_in, n_hidden, n_latent, rng, "encoder")
        self.hidden = Dense(n_latent, n_hidden, rng=rng)
        self.output = Dense(n_hidden, n_in, rng=rng)
        self.params = [*self.encoder.params, *self.hidden.params, *self.output.params]
        if outputs == "gaussian":
            self.log_sigma_2 = parameter("log_sigma_2", (n_in,), np.zeros(n_in))
            self.params.append(self.log_sigma_2)
        self.noise = Noise(rng)

    def inputs(self) -> list[TensorVariable]:
        """Return ``[x]``, a matrix."""
        return [pt.matrix("x", dtype=self.output.W.dtype)]

    def encode(self, x: Any) -> Gaussian:
        """Return q(z | x) of x, ``(batch, n_in)``."""
        return self.encoder(x)

    def decode(self, z: Any) -> TensorVariable:
        """Return y of z, ``(batch, n_latent)``: logits of the pixels, or means."""
        return self.output(pt.tanh(self.hidden(z)))

    def terms(self, x: Any, epsilon: Any = None, training: bool = False) -> Terms:  # type: ignore[override]
        """Return the parts of the bound; see `Variational.terms`.

        Raises
        ------
        ValueError
            When the function is called: if x does not have `n_in` features, or with
            ``outputs="bernoulli"`` a number below 0 or above 1.
        """
        x = self._checked(x)
        q = self.encode(x)
        y = self.decode(q.at(self._epsilon(epsilon, q.mean)))
        if self.outputs == "bernoulli":
            log_likelihood = -binary_cross_entropy(y, x) * y.shape[1].astype(y.dtype)
        else:
            scale = pt.exp(-self.log_sigma_2 / 2)
            squares = sum_squared_error(y * scale, x * scale) / y.shape[0].astype(y.dtype)
            log_2_pi = np.asarray(np.log(2 * np.pi), y.dtype)
            log_likelihood = -(squares + (self.log_sigma_2 + log_2_pi).sum()) / 2
        return Terms(log_likelihood, gaussian_kl(*q))

    def _checked(self, x: Any) -> TensorVariable:
        x = pt.as_tensor_variable(x)
        if x.ndim != 2:
            raise ValueError(f"x has {x.ndim} axes, but must have two: (batch, n_in)")
        fits = CheckAndRaise(
            ValueError, f"x must have shape (batch, {self.n_in}): the model has n_in={self.n_in}"
        )
        x = fits(x, pt.eq(x.shape[1], self.n_in))
        if self.outputs == "gaussian":
            return x
        within = CheckAndRaise(
            ValueError,
            "x must be from 0 to 1, as pixels are; for other numbers make the model with "
            'outputs="gaussian"',
        )
        return within(x, pt.ge(x, 0).all(), pt.le(x, 1).all())

    def compile_encoder(self, mode: Any = QUICK) -> Any:
        """Compile ``x -> [mean, log_variance]``, each ``(batch, n_latent)``."""
        (x,) = self.inputs()
        return pytensor.function([x], [*self.encode(x)], mode=mode)

    def compile_decoder(self, mode: Any = QUICK) -> Any:
        """Compile ``z -> mean of x given z``: for pixels the probability that each is 1."""
        z = pt.matrix("z", dtype=self.output.W.dtype)
        y = self.decode(z)
        return pytensor.function(
            [z], pt.sigmoid(y) if self.outputs == "bernoulli" else y, mode=mode
        )


class SequenceVAE(Variational):
    """Variational autoencoder for sequences of tokens (Bowman et al., 2016).

    ::

        v        = last h of encoder(E[x_1] ... E[x_T])
        q(z | x) = N(v W_m + b_m, diag(exp(v W_v + b_v)))
        p(z)     = N(0, I)
        p(x | z) = that of a `symrnn.models.decoder.Decoder` which is given z

    Parameters
    ----------
    n_tokens
        Size of the vocabulary; one of its tokens ends a sequence.
    n_embed, n_hidden, n_latent
        Length of a token's vector, units of encoder and decoder, length of z.
    rng
        Source of the initial weights, and of the draws' seeds.
    cell
        Makes both cells, as in `Decoder`.
    word_drop
        Which part of the tokens the decoder is not shown in training, within [0, 1].
    W_embed
        Makes the first vectors of the tokens, from `symrnn.nn.initializers`. Default: N(0, 1).

    Attributes
    ----------
    params
        All weights, in order.
    decoder
        The decoder, which a `symrnn.models.decoder.Writer` lets write.
    noise
        Source of the draws.

    Raises
    ------
    ValueError
        If a size is below 1, or `word_drop` out of range.

    Examples
    --------
    >>> from symrnn.compiling.modes import QUICK
    >>> from symrnn.models.decoder import Writer
    >>> from symrnn.training.optimizers import adam
    >>> model = SequenceVAE(3, 4, 16, 2, np.random.default_rng(1))
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.03), QUICK, 0.1)
    >>> x = np.array([[0, 1, 0, 1], [0, 1, 1, 0], [2, 2, 2, 2]])  # (time, batch); 2 ends each
    >>> losses = [float(step(x, x > -1)[0]) for _ in range(80)]
    >>> mean, _ = model.compile_encoder(QUICK)(x, x > -1)
    >>> Writer(model.decoder, eos=2, mode=QUICK).write(mean)
    [[0, 0], [1, 1], [0, 1], [1, 0]]
    """

    def __init__(
        self,
        n_tokens: int,
        n_embed: int,
        n_hidden: int,
        n_latent: int,
        rng: Generator,
        cell: Callable[..., Cell] = GRUCell,
        word_drop: float = 0.0,
        W_embed: Initializer = LARGE,
    ) -> None:
        self.n_tokens, self.n_latent, self.noise = n_tokens, n_latent, Noise(rng)
        self.embedding = Embedding(n_tokens + 2, n_embed, rng=rng, W=W_embed)
        self.encoder = cell(n_embed, n_hidden, rng, name="encoder")
        self.q = GaussianLayer(n_hidden, 0, n_latent, rng, "q")
        self.decoder = Decoder(self.embedding, n_latent, n_hidden, rng, self.noise, cell, word_drop)
        parts: list[Any] = [self.embedding, self.encoder, self.q, self.decoder]
        self.params = [p for part in parts for p in part.params]

    def inputs(self) -> list[TensorVariable]:
        """Return ``[tokens, mask]``, each ``(time, batch)``; int64 and bool."""
        return [pt.lmatrix("tokens"), pt.matrix("mask", dtype="bool")]

    def encode(self, tokens: Any, mask: Any) -> Gaussian:
        """Return q(z | x) of tokens ``(time, batch)``; the mask is 0 where there is padding."""
        _, state = unroll(self.encoder, self.embedding(tokens), mask=mask)
        return self.q(state[0])

    def terms(  # type: ignore[override]
        self, tokens: Any, mask: Any, epsilon: Any = None, training: bool = False
    ) -> Terms:
        """Return the parts of the bound, means over the sequences; see `Variational.terms`.

        A column whose mask is all 0 is no sequence, and does not count.

        Raises
        ------
        ValueError
            When the function is called: if the shapes differ, or padding does not come last.
        """
        mask = padding_last(pt.as_tensor_variable(mask))
        q = self.encode(tokens, mask)
        z = q.at(self._epsilon(epsilon, q.mean))
        nats = categorical_cross_entropy(
            self.decoder.logits(z, tokens, training), tokens, mask=mask
        )
        there = pt.neq(mask, 0).any(axis=0)
        n_words, n_sequences = mask.sum(), pt.maximum(there.sum(), 1)
        each = n_words.astype(nats.dtype) / n_sequences.astype(nats.dtype)
        return Terms(-nats * each, gaussian_kl(*q, mask=there))

    def compile_encoder(self, mode: Any = QUICK) -> Any:
        """Compile ``(tokens, mask) -> [mean, log_variance]``, each ``(batch, n_latent)``.

        The mask must be bool: ``mask.astype(bool)``.
        """
        batch = self.inputs()
        return pytensor.function(batch, [*self.encode(*batch)], mode=mode)
