"""A variational autoencoder for sequences of tokens."""

from collections.abc import Callable
from typing import Any

import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.tensor.variable import TensorVariable

from symrnn.compiling.function import function
from symrnn.models.decoder import STANDARD_NORMAL, Decoder
from symrnn.models.vae.variational import Gaussian, GaussianLayer, Terms, Variational
from symrnn.nn.cells import Cell, GRUCell
from symrnn.nn.initializers import Initializer
from symrnn.nn.inputs import padding_last
from symrnn.nn.layers import Embedding
from symrnn.nn.recurrent import unroll
from symrnn.training.losses import categorical_cross_entropy, gaussian_kl


class SequenceVAE(Variational):
    """Variational autoencoder for sequences of tokens (Bowman et al., 2016).

    ::

        v        = last h of encoder(E[x_1] ... E[x_T])
        q(z | x) = N(v W_m + b_m, diag(exp(v W_v + b_v)))       posterior
        p(z)     = N(0, I)                                      prior
        p(x | z) = that of a `symrnn.models.decoder.Decoder`, conditioned on z

    Parameters
    ----------
    n_tokens
        Size of the vocabulary; one of its tokens ends a sequence.
    n_embed, n_hidden, n_latent
        Embedding size, hidden units of encoder and decoder, size of z.
    rng
        Source of the initial weights, and of the draws' seeds.
    cell
        Makes both cells: a class such as `symrnn.LSTMCell`, or any function
        ``(n_in, n_hidden, *, rng) -> cell``.
    word_dropout
        Fraction of the decoder's inputs that word dropout replaces in training, within [0, 1].
    W_embed
        Initializer of the embedding, from `symrnn.initializers`. Default: N(0, 1).

    Attributes
    ----------
    decoder
        The decoder, which a `symrnn.models.decoder.SequenceGenerator` generates sequences with.

    Examples
    --------
    >>> import numpy as np
    >>> from symrnn.models.decoder import SequenceGenerator
    >>> from symrnn.training.optimizers import adam
    >>> model = SequenceVAE(3, 4, 16, 2, rng=np.random.default_rng(1))
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.03), kl_weight=0.1)
    >>> x = np.array([[0, 1, 0, 1], [0, 1, 1, 0], [2, 2, 2, 2]])  # (time, batch); 2 ends each
    >>> losses = [float(step(x, x > -1)[0]) for _ in range(80)]
    >>> mean, _ = model.compile_encoder()(x, x > -1)
    >>> SequenceGenerator(model.decoder, eos=2).generate(mean)
    [[0, 0], [1, 1], [0, 1], [1, 0]]
    """

    def __init__(
        self,
        n_tokens: int,
        n_embed: int,
        n_hidden: int,
        n_latent: int,
        *,
        rng: Generator,
        cell: Callable[..., Cell] = GRUCell,
        word_dropout: float = 0.0,
        W_embed: Initializer = STANDARD_NORMAL,
    ) -> None:
        super().__init__(rng=rng)
        self.n_tokens, self.n_latent = n_tokens, n_latent
        self.embedding = Embedding(n_tokens + 2, n_embed, rng=rng, W=W_embed)
        self.encoder = cell(n_embed, n_hidden, rng=rng)
        self.posterior = GaussianLayer(n_hidden, 0, n_latent, rng=rng)
        self.decoder = Decoder(
            self.embedding, n_latent, n_hidden, rng=rng, cell=cell, word_dropout=word_dropout
        )

    def inputs(self) -> list[TensorVariable]:
        """Return ``[tokens, mask]``, each ``(time, batch)``; int64 and bool."""
        return [pt.lmatrix("tokens"), pt.matrix("mask", dtype="bool")]

    def encode(self, tokens: Any, mask: Any) -> Gaussian:
        """Return the posterior q(z | x) of tokens ``(time, batch)``; the mask is 0 at padding."""
        _, state = unroll(self.encoder, self.embedding(tokens), mask=mask)
        return self.posterior(state[0])

    def terms(  # type: ignore[override]
        self, tokens: Any, mask: Any, *, epsilon: Any = None, training: bool = False
    ) -> Terms:
        """Return both terms of the ELBO, means over the sequences.

        Parameters
        ----------
        tokens
            Token ids, ``(time, batch)``, each sequence with the token that ends it.
        mask
            1 (or True) for a token, 0 for padding, which comes last. A column whose mask is all 0
            is not a sequence, and does not count.
        epsilon
            Noise that makes z from the posterior, ``(batch, n_latent)``. Default: drawn from
            N(0, I), new at each call of a function that `symrnn.function` compiles.
        training
            True applies word dropout.
        """
        mask = padding_last(pt.as_tensor_variable(mask))
        posterior = self.encode(tokens, mask)
        z = self._draw(posterior, epsilon)
        logits = self.decoder.logits(z, tokens, training=training)
        nats = categorical_cross_entropy(logits, tokens, mask=mask)
        valid = pt.neq(mask, 0).any(axis=0)
        n_tokens, n_sequences = mask.sum(), pt.maximum(valid.sum(), 1)
        mean_length = n_tokens.astype(nats.dtype) / n_sequences.astype(nats.dtype)
        return Terms(-nats * mean_length, gaussian_kl(*posterior, mask=valid))

    def compile_encoder(self, *, mode: Any = None) -> Any:
        """Compile ``(tokens, mask) -> [mean, log_variance]``, each ``(batch, n_latent)``.

        The mask must be bool: ``mask.astype(bool)``.
        """
        batch = self.inputs()
        return function(batch, [*self.encode(*batch)], mode=mode)
