"""Initial values of weights: each initializer is a function ``(rng, shape) -> array``.

Set other arguments with `functools.partial`, for example ``partial(normal, std=0.5)``.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator, RandomState
from numpy.typing import NDArray

Array = NDArray[np.float64]
Random = Generator | RandomState
Initializer = Callable[[Random, Sequence[int]], Array]


def zeros(rng: Random, shape: Sequence[int]) -> Array:
    """All zeros; `rng` is not used."""
    return np.zeros(shape)


def normal(rng: Random, shape: Sequence[int], std: float = 0.01) -> Array:
    """Gaussian: ``W ~ N(0, std^2)``."""
    return rng.normal(0.0, std, tuple(shape))


def uniform(rng: Random, shape: Sequence[int], low: float = -0.1, high: float = 0.1) -> Array:
    """Uniform: ``W ~ U(low, high)``."""
    return rng.uniform(low, high, tuple(shape))


def xavier_normal(rng: Random, shape: Sequence[int]) -> Array:
    """Gaussian with ``std^2 = 2 / (n_in + n_out)`` (Glorot and Bengio, 2010).

    Parameters
    ----------
    rng
        Source of random numbers.
    shape
        ``(n_in, n_out)``.
    """
    n_in, n_out = _fans(shape, "xavier_normal")
    return normal(rng, shape, std=np.sqrt(2 / (n_in + n_out)))


def xavier_uniform(rng: Random, shape: Sequence[int]) -> Array:
    """Uniform within ``+- sqrt(6 / (n_in + n_out))`` (Glorot and Bengio, 2010).

    Parameters
    ----------
    rng
        Source of random numbers.
    shape
        ``(n_in, n_out)``.
    """
    n_in, n_out = _fans(shape, "xavier_uniform")
    limit = np.sqrt(6 / (n_in + n_out))
    return uniform(rng, shape, -limit, limit)


def he_normal(rng: Random, shape: Sequence[int]) -> Array:
    """Gaussian with ``std^2 = 2 / n_in``, made for ReLU (He et al., 2015).

    Parameters
    ----------
    rng
        Source of random numbers.
    shape
        ``(n_in, n_out)``.
    """
    n_in, _ = _fans(shape, "he_normal")
    return normal(rng, shape, std=np.sqrt(2 / n_in))


def orthogonal(rng: Random, shape: Sequence[int], gain: float = 1.0) -> Array:
    """A random matrix whose singular values all equal `gain` (Saxe et al., 2014).

    With gain 1 a square one keeps the norm of every vector, over any number of steps.

    Parameters
    ----------
    rng
        Source of random numbers.
    shape
        ``(n_in, n_out)``.
    gain
        The singular values.
    """
    n_in, n_out = _fans(shape, "orthogonal")
    tall = rng.normal(size=(max(n_in, n_out), min(n_in, n_out)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))  # makes the decomposition unique, so all rotations equally likely
    return gain * (q if n_in >= n_out else q.T)


def identity(rng: Random, shape: Sequence[int], gain: float = 1.0) -> Array:
    """Ones (times `gain`) on the diagonal, zeros elsewhere (Le et al., 2015).

    Parameters
    ----------
    rng
        Source of random numbers; not used.
    shape
        ``(n_in, n_out)``.
    gain
        The values on the diagonal.
    """
    n_in, n_out = _fans(shape, "identity")
    return gain * np.eye(n_in, n_out)


def _fans(shape: Sequence[int], name: str) -> tuple[int, int]:
    """Return n_in and n_out of a weight matrix."""
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(
            f"{name} makes matrices of shape (n_in, n_out), both at least 1, not {tuple(shape)}; "
            "for another shape use normal or uniform"
        )
    return shape[0], shape[1]
