"""What models with a latent variable z share: Gaussians, their draws, and the bound (ELBO)."""

from numbers import Real
from typing import Any, NamedTuple

import pytensor
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn.compiling.modes import QUICK
from symrnn.nn.inputs import may_equal
from symrnn.nn.layers import Dense
from symrnn.nn.random import Noise
from symrnn.training.optimizers import Optimizer


class Gaussian(NamedTuple):
    """A Gaussian with independent features for each sample, ``N(mean, diag(exp(log_variance)))``.

    Both have the shape ``(..., n_latent)``.
    """

    mean: TensorVariable
    log_variance: TensorVariable

    def at(self, epsilon: Any) -> TensorVariable:
        """Return ``z = mean + exp(log_variance / 2) epsilon``, a draw if epsilon ~ N(0, I).

        So written (reparameterised: Kingma and Welling, 2014) the draw has a gradient with respect
        to mean and variance.
        """
        return self.mean + pt.exp(self.log_variance / 2) * epsilon


class GaussianLayer:
    """A net that says a Gaussian.

    ::

        h = tanh(x W_1 + b_1)
        mean = h W_m + b_m        log variance = h W_v + b_v

    Parameters
    ----------
    n_in, n_hidden, n_latent
        Lengths of x, of h and of z; ``n_hidden=0`` leaves the layer between out: h = x.
    rng
        Source of the initial weights.
    name
        Prefix of the weights' names.
    """

    def __init__(
        self, n_in: int, n_hidden: int, n_latent: int, rng: Generator, name: str = "q"
    ) -> None:
        self.hidden = Dense(n_in, n_hidden, rng=rng) if n_hidden else None
        self.mean = Dense(n_hidden or n_in, n_latent, rng=rng)
        self.log_variance = Dense(n_hidden or n_in, n_latent, rng=rng)
        layers = [self.hidden, self.mean, self.log_variance]
        self.params = [p for layer in layers if layer for p in layer.params]

    def __call__(self, x: Any) -> Gaussian:
        """Return the Gaussian of each row of x, ``(..., n_in)``."""
        h = x if self.hidden is None else pt.tanh(self.hidden(x))
        return Gaussian(self.mean(h), self.log_variance(h))


class Terms(NamedTuple):
    """The two parts of the bound: means over the samples, in nats."""

    log_likelihood: TensorVariable
    """``log p(x | z)``, with one z for each sample, drawn from q."""
    kl: TensorVariable
    """``KL(q(z | x) || p(z))``."""


class Variational:
    """A model that is trained by the evidence lower bound (Kingma and Welling, 2014).

    ::

        ELBO = E_q[log p(x | z)] - KL(q(z | x) || p(z))  <=  log p(x)
        loss = -log p(x | z) + w KL,        z drawn from q

    w is 1; with KL annealing (Bowman et al., 2016) it grows from 0 to 1 at the beginning, so that z
    comes into use before it costs anything.

    A subclass has `params`, `noise`, and

    - ``terms(*batch, epsilon=None, training=False) -> Terms``;
    - ``inputs() -> list``: variables of a batch.
    """

    params: list[SharedVariable]
    noise: Noise

    def inputs(self) -> list[TensorVariable]:
        """Return new variables for a batch."""
        raise NotImplementedError

    def terms(self, *batch: Any, epsilon: Any = None, training: bool = False) -> Terms:
        """Return both parts of the bound.

        Parameters
        ----------
        batch
            What `inputs` names.
        epsilon
            The draws of N(0, I) that make z, of the shape of z. Default: drawn anew from `noise` at
            each call; then compile with ``noise.updates``.
        training
            Whether words are dropped, if the model has that.
        """
        raise NotImplementedError

    def elbo(self, *batch: Any, epsilon: Any = None) -> TensorVariable:
        """Return ``log p(x | z) - KL``: the bound, estimated with one z for each sample."""
        log_likelihood, kl = self.terms(*batch, epsilon=epsilon)
        return log_likelihood - kl

    def compile_training(
        self, optimizer: Optimizer, mode: Any = QUICK, kl_weight: Any = 1.0
    ) -> Any:
        """Compile a step of training.

        Parameters
        ----------
        optimizer
            A function (loss, params) -> updates, for example
            ``lambda loss, params: adam(loss, params, 0.003)``.
        mode
            As for `pytensor.function`; not its default. `symrnn.compiling.modes.QUICK`, which compiles
            nothing, trains at once; mode NUMBA compiles a dialogue model for one to two minutes.
        kl_weight
            w: a number, a shared variable, or a graph such as ``warm_up(t, 1.0, n_steps)`` of
            `symrnn.training.schedules`; then `optimizer` returns ``advance(t)`` among its updates.

        Returns
        -------
        function
            ``(*batch) -> [loss, log_likelihood, kl]``, before the update. A mask in the batch must
            be bool: ``mask.astype(bool)``.

        Raises
        ------
        ValueError
            If `kl_weight` is a negative number.
        """
        if isinstance(kl_weight, Real) and not kl_weight >= 0:  # type: ignore[operator]
            raise ValueError(f"kl_weight is {kl_weight}, but must be 0 or more; 1 is the bound's")
        others = set(self.noise.updates)  # draws of graphs that were built before
        batch = self.inputs()
        log_likelihood, kl = self.terms(*batch, training=True)
        loss = pt.as_tensor_variable(kl_weight).astype(kl.dtype) * kl - log_likelihood
        loss.name = "loss"
        draws = {rng: after for rng, after in self.noise.updates.items() if rng not in others}
        updates = optimizer(loss, self.params) | draws
        return pytensor.function(batch, [loss, log_likelihood, kl], updates=updates, mode=mode)

    def compile_elbo(self, mode: Any = QUICK) -> Any:
        """Compile ``(*batch) -> [elbo, log_likelihood, kl]``; each call draws z anew.

        A mask in the batch must be bool: ``mask.astype(bool)``.
        """
        others = set(self.noise.updates)
        batch = self.inputs()
        log_likelihood, kl = self.terms(*batch)
        draws = {rng: after for rng, after in self.noise.updates.items() if rng not in others}
        outputs = [log_likelihood - kl, log_likelihood, kl]
        return pytensor.function(batch, outputs, updates=draws, mode=mode)

    def _epsilon(self, epsilon: Any, like: TensorVariable) -> TensorVariable:
        if epsilon is None:
            return self.noise.normal(tuple(like.shape))
        epsilon = pt.as_tensor_variable(epsilon).astype(like.dtype)
        if epsilon.ndim != like.ndim:
            raise ValueError(f"epsilon has {epsilon.ndim} axes, but z has {like.ndim}")
        known, wanted = epsilon.type.shape, like.type.shape
        if not may_equal(known, wanted):
            raise ValueError(f"epsilon does not have the shape of z: {known}, and not {wanted}")
        fits = CheckAndRaise(ValueError, "epsilon does not have the shape of z")
        return fits(epsilon, *(pt.eq(epsilon.shape[k], like.shape[k]) for k in range(like.ndim)))
