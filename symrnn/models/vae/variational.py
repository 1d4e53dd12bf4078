"""What models with a latent variable z share: Gaussians, sampling from them, and the ELBO."""

from numbers import Real
from typing import Any, NamedTuple

import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_rng
from symrnn.compiling.function import function
from symrnn.nn.inputs import may_equal
from symrnn.nn.layers import Dense
from symrnn.nn.module import Module
from symrnn.nn.random import draw_normal
from symrnn.training.optimizers import Optimizer


class Gaussian(NamedTuple):
    """A Gaussian with independent features for each sample, ``N(mean, diag(exp(log_variance)))``.

    Both have the shape ``(..., n_latent)``.
    """

    mean: TensorVariable
    log_variance: TensorVariable

    def at(self, epsilon: Any) -> TensorVariable:
        """Return ``z = mean + exp(log_variance / 2) epsilon``, a draw if epsilon ~ N(0, I).

        Written in this way, the reparameterisation trick of Kingma and Welling (2014), the draw has
        a gradient with respect to mean and variance.
        """
        return self.mean + pt.exp(self.log_variance / 2) * epsilon


class GaussianLayer(Module):
    """A net whose output is a Gaussian.

    ::

        h = tanh(x W_1 + b_1)
        mean = h W_m + b_m        log variance = h W_v + b_v

    Parameters
    ----------
    n_in, n_hidden, n_latent
        Sizes of x, of h and of the Gaussian; ``n_hidden=0`` omits the hidden layer: h = x.
    rng
        Source of the initial weights.

    Examples
    --------
    >>> import numpy as np
    >>> mean, log_variance = GaussianLayer(3, 8, 2, rng=np.random.default_rng(1))(np.ones((5, 3)))
    >>> mean.eval(mode="FAST_COMPILE").shape
    (5, 2)
    """

    def __init__(self, n_in: int, n_hidden: int, n_latent: int, *, rng: Generator) -> None:
        self.hidden = Dense(n_in, n_hidden, rng=rng) if n_hidden else None
        self.mean = Dense(n_hidden or n_in, n_latent, rng=rng)
        self.log_variance = Dense(n_hidden or n_in, n_latent, rng=rng)

    def __call__(self, x: Any) -> Gaussian:
        """Return the Gaussian of each row of x, ``(..., n_in)``."""
        h = x if self.hidden is None else pt.tanh(self.hidden(x))
        return Gaussian(self.mean(h), self.log_variance(h))


class Terms(NamedTuple):
    """The two terms of the ELBO: means over the samples, in nats."""

    log_likelihood: TensorVariable
    """``log p(x | z)``, with one z for each sample, drawn from the posterior."""
    kl: TensorVariable
    """``KL(q(z | x) || p(z))``, of posterior and prior."""


class Variational(Module):
    """A model that is trained by the evidence lower bound, ELBO (Kingma and Welling, 2014).

    ::

        ELBO = E_q[log p(x | z)] - KL(q(z | x) || p(z))  <=  log p(x)
        loss = -log p(x | z) + w KL,        z drawn from the posterior q

    w is 1. With KL annealing (Bowman et al., 2016) it grows from 0 to 1 at the beginning, so that
    the model learns to use z before z costs anything.

    A subclass calls ``super().__init__(rng=rng)`` and has

    - ``inputs() -> list``: new symbolic variables for a batch;
    - ``terms(*batch, epsilon=None, training=False) -> Terms``.

    Parameters
    ----------
    rng
        Seeds the draws of z.
    """

    def __init__(self, *, rng: Generator) -> None:
        check_rng(rng)
        self.rng = rng

    def inputs(self) -> list[TensorVariable]:
        """Return new symbolic variables for a batch."""
        raise NotImplementedError

    def terms(self, *batch: Any, epsilon: Any = None, training: bool = False) -> Terms:
        """Return both terms of the ELBO.

        Parameters
        ----------
        batch
            The variables or arrays that `inputs` names.
        epsilon
            Noise that makes z from the posterior, see `Gaussian.at`; of the shape of z. Default:
            drawn from N(0, I), new at each call of a function that `symrnn.function` compiles.
        training
            True applies word dropout, if the model has it.
        """
        raise NotImplementedError

    def elbo(self, *batch: Any, epsilon: Any = None) -> TensorVariable:
        """Return ``log p(x | z) - KL``: the ELBO, estimated with one z for each sample.

        Parameters
        ----------
        batch
            The variables or arrays that `inputs` names.
        epsilon
            Noise that makes z from the posterior. Default: drawn from N(0, I).
        """
        log_likelihood, kl = self.terms(*batch, epsilon=epsilon)
        return log_likelihood - kl

    def compile_training(
        self, optimizer: Optimizer, *, kl_weight: Any = 1.0, mode: Any = None
    ) -> Any:
        """Compile a training step.

        Parameters
        ----------
        optimizer
            A function (loss, params) -> updates, for example
            ``lambda loss, params: adam(loss, params, 0.003)``.
        kl_weight
            w: a number, a shared variable, or a graph such as ``warm_up(t, 1.0, n_steps=1000)`` of
            `symrnn.schedules`; then `optimizer` returns ``advance(t)`` among its updates.
        mode
            Compilation mode, see `symrnn.function`. Mode NUMBA compiles a dialogue model for one to
            two minutes.

        Returns
        -------
        function
            ``(*batch) -> [loss, log_likelihood, kl]``, before the update. A mask in the batch must
            be bool: ``mask.astype(bool)``.
        """
        if isinstance(kl_weight, Real) and not kl_weight >= 0:  # type: ignore[operator]
            raise ValueError(f"kl_weight is {kl_weight}, but must be 0 or more; 1 is the ELBO's")
        batch = self.inputs()
        log_likelihood, kl = self.terms(*batch, training=True)
        loss = pt.as_tensor_variable(kl_weight).astype(kl.dtype) * kl - log_likelihood
        loss.name = "loss"
        updates = optimizer(loss, self.params)
        return function(batch, [loss, log_likelihood, kl], updates=updates, mode=mode)

    def compile_elbo(self, *, mode: Any = None) -> Any:
        """Compile ``(*batch) -> [elbo, log_likelihood, kl]``; each call draws new z.

        A mask in the batch must be bool: ``mask.astype(bool)``.
        """
        batch = self.inputs()
        log_likelihood, kl = self.terms(*batch)
        return function(batch, [log_likelihood - kl, log_likelihood, kl], mode=mode)

    def _draw(self, posterior: Gaussian, epsilon: Any) -> TensorVariable:
        """Return z, made with a given epsilon or a new one."""
        mean = posterior.mean
        if epsilon is None:
            return posterior.at(draw_normal(self.rng, tuple(mean.shape)))
        epsilon = pt.as_tensor_variable(epsilon).astype(mean.dtype)
        if epsilon.ndim != mean.ndim:
            raise ValueError(f"epsilon has {epsilon.ndim} axes, but z has {mean.ndim}")
        shape, wanted = epsilon.type.shape, mean.type.shape
        if not may_equal(shape, wanted):
            raise ValueError(f"epsilon does not have the shape of z: {shape}, and not {wanted}")
        fits = CheckAndRaise(ValueError, "epsilon does not have the shape of z")
        equal = (pt.eq(epsilon.shape[k], mean.shape[k]) for k in range(mean.ndim))
        return posterior.at(fits(epsilon, *equal))
