"""Bit counting: read a sequence of zeros and ones, and output the number of ones."""

from typing import Any

import numpy as np
from numpy.random import Generator, RandomState
from numpy.typing import NDArray

from symrnn._validate import check_rng, check_sizes


def bit_counting(
    n_samples: int = 20, n_steps: int = 10, *, rng: Generator | RandomState
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Make random bits and their counts.

    Parameters
    ----------
    n_samples, n_steps
        Number of sequences, and of bits in each.
    rng
        Random generator. ``numpy.random.RandomState(1)`` gives the data of the published table (see
        ``tutorials/02_bit_counting.py``).

    Returns
    -------
    X : array of shape (time, samples)
        Zeros and ones, float64, time first.
    t : array of shape (samples,)
        The number of ones in each sequence.

    Examples
    --------
    >>> X, t = bit_counting(n_samples=3, n_steps=4, rng=np.random.RandomState(1))
    >>> X.T.astype(int).tolist(), t.astype(int).tolist()
    ([[0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1]], [1, 0, 2])
    """
    check_rng(rng, legacy=True)
    check_sizes(n_samples=n_samples, n_steps=n_steps)
    bits = np.around(rng.random((n_samples, n_steps)))
    return np.ascontiguousarray(bits.T), bits.sum(axis=1)


def check_bits(X: Any, t: Any) -> None:
    """Raise an error unless `X` has shape (time, samples) and `t` a target for each sample.

    Both must be arrays of finite floats.
    """
    X, t = np.asarray(X), np.asarray(t)
    for name, array in (("X", X), ("t", t)):
        if array.dtype.kind != "f":
            raise TypeError(
                f"{name} has dtype {array.dtype}, but must be float: "
                f"{name}.astype(pytensor.config.floatX)"
            )
        if not np.isfinite(array).all():
            raise ValueError(
                f"{name} has {np.count_nonzero(~np.isfinite(array))} values that are NaN or "
                "infinite: remove or replace them before training"
            )
    if X.ndim != 2 or t.ndim != 1:
        raise ValueError(
            f"X has shape {X.shape} and t {t.shape}, but must have (time, samples) and (samples,)"
        )
    if X.size == 0:
        raise ValueError(
            f"X has shape {X.shape}: there must be at least one time step and one sample"
        )
    if X.shape[1] != t.shape[0]:
        fix = (
            "X looks like (samples, time): scan iterates over the first axis, so pass X.T"
            if X.shape[0] == t.shape[0]
            else "there must be one target for each sample"
        )
        raise ValueError(
            f"X has shape {X.shape}, (time, samples), but t has {t.shape[0]} targets: {fix}"
        )
