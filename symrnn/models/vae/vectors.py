"""A variational autoencoder for vectors."""

from typing import Any

import numpy as np
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_choice, check_sizes
from symrnn.compiling.function import function
from symrnn.models.vae.variational import Gaussian, GaussianLayer, Terms, Variational
from symrnn.nn.layers import Dense
from symrnn.nn.module import Module, parameter
from symrnn.training.losses import binary_cross_entropy, gaussian_kl, sum_squared_error

OUTPUTS = ("bernoulli", "gaussian")


class VAE(Variational):
    """Variational autoencoder for vectors (Kingma and Welling, 2014).

    ::

        q(z | x) = N(mean, diag(exp(log_variance)))     posterior
                   mean = h W_m + b_m,  log_variance = h W_v + b_v,  h = tanh(x W_1 + b_1)
        p(z)     = N(0, I)                              prior
        y        = tanh(z W_2 + b_2) W + b
        p(x | z) = prod_i sigmoid(y_i)^x_i (1 - sigmoid(y_i))^(1 - x_i)     outputs="bernoulli"
        p(x | z) = N(x; y, diag(exp(log_sigma_2)))                          outputs="gaussian"

    Parameters
    ----------
    n_in, n_hidden, n_latent
        Sizes of x, of both hidden layers, and of z.
    rng
        Source of the initial weights, and of the draws' seeds.
    outputs
        ``"bernoulli"`` for x within [0, 1], such as black and white pixels, or ``"gaussian"``,
        whose variances ``exp(log_sigma_2)`` are learned, one for each feature.

    Examples
    --------
    >>> from symrnn.training.optimizers import adam
    >>> model = VAE(4, 16, 1, rng=np.random.default_rng(1))
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.03))
    >>> x = np.repeat(np.eye(4), 5, axis=0)  # (batch, features)
    >>> losses = [step(x)[0] for _ in range(300)]
    >>> bool(losses[0] > 2.7), bool(np.mean(losses[-20:]) < 2.3)
    (True, True)
    """

    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        n_latent: int,
        *,
        rng: Generator,
        outputs: str = "bernoulli",
    ) -> None:
        super().__init__(rng=rng)
        check_choice("outputs", outputs, OUTPUTS)
        check_sizes(n_in=n_in, n_hidden=n_hidden, n_latent=n_latent)
        self.outputs, self.n_in, self.n_latent = outputs, n_in, n_latent
        self.encoder = GaussianLayer(n_in, n_hidden, n_latent, rng=rng)
        self.decoder = _TwoLayers(n_latent, n_hidden, n_in, rng=rng)
        if outputs == "gaussian":
            self.log_sigma_2 = parameter("log_sigma_2", (n_in,), np.zeros(n_in))

    def inputs(self) -> list[TensorVariable]:
        """Return ``[x]``, a matrix ``(batch, n_in)``."""
        return [pt.matrix("x", dtype=self.decoder.output.W.dtype)]

    def encode(self, x: Any) -> Gaussian:
        """Return the posterior q(z | x) of x, ``(batch, n_in)``."""
        return self.encoder(x)

    def decode(self, z: Any) -> TensorVariable:
        """Return y of z, ``(batch, n_latent)``: logits of the pixels, or means."""
        return self.decoder(z)

    def terms(  # type: ignore[override]
        self, x: Any, *, epsilon: Any = None, training: bool = False
    ) -> Terms:
        """Return both terms of the ELBO, means over the samples.

        Parameters
        ----------
        x
            Shape ``(batch, n_in)``; with ``outputs="bernoulli"`` within [0, 1].
        epsilon
            Noise that makes z from the posterior, ``(batch, n_latent)``. Default: drawn from
            N(0, I), new at each call of a function that `symrnn.function` compiles.
        training
            Not used: this model has no dropout.
        """
        x = self._checked(x)
        posterior = self.encode(x)
        y = self.decode(self._draw(posterior, epsilon))
        if self.outputs == "bernoulli":
            log_likelihood = -binary_cross_entropy(y, x) * y.shape[1].astype(y.dtype)
        else:
            scale = pt.exp(-self.log_sigma_2 / 2)
            squares = sum_squared_error(y * scale, x * scale) / y.shape[0].astype(y.dtype)
            log_2_pi = np.asarray(np.log(2 * np.pi), y.dtype)
            log_likelihood = -(squares + (self.log_sigma_2 + log_2_pi).sum()) / 2
        return Terms(log_likelihood, gaussian_kl(*posterior))

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

    def compile_encoder(self, *, mode: Any = None) -> Any:
        """Compile ``x -> [mean, log_variance]`` of the posterior, each ``(batch, n_latent)``."""
        (x,) = self.inputs()
        return function([x], [*self.encode(x)], mode=mode)

    def compile_decoder(self, *, mode: Any = None) -> Any:
        """Compile ``z -> mean of x given z``: for pixels the probability that each is 1."""
        z = pt.matrix("z", dtype=self.decoder.output.W.dtype)
        y = self.decode(z)
        return function([z], pt.sigmoid(y) if self.outputs == "bernoulli" else y, mode=mode)


class _TwoLayers(Module):
    """``y = tanh(z W_2 + b_2) W + b``."""

    def __init__(self, n_in: int, n_hidden: int, n_out: int, *, rng: Generator) -> None:
        self.hidden = Dense(n_in, n_hidden, rng=rng)
        self.output = Dense(n_hidden, n_out, rng=rng)

    def __call__(self, z: Any) -> TensorVariable:
        return self.output(pt.tanh(self.hidden(z)))
