"""Binary addition: read the bits of two numbers from right to left, write those of their sum."""

import numpy as np
from numpy.random import Generator, RandomState
from numpy.typing import ArrayLike, NDArray


def binary_addition(
    n_samples: int = 1, n_bits: int = 8, *, rng: Generator | RandomState
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Make pairs of random numbers and their sums, as bits, the least significant first.

    A net that reads them in this order only has to remember the carry. The numbers are below
    ``2^(n_bits - 1)``, so that the sum has room.

    Parameters
    ----------
    rng
        Source of random numbers.
    n_samples, n_bits
        How many sums, at least 1, and of how many bits, at least 2 and at most 62.

    Returns
    -------
    x : array of shape (time, samples, 2)
        Bits of both numbers, float64, time first.
    t : array of shape (time, samples, 1)
        Bits of their sum.

    Raises
    ------
    ValueError
        If a size is out of range.

    Examples
    --------
    >>> x, t = binary_addition(n_samples=3, n_bits=5, rng=np.random.default_rng(1))
    >>> from_bits(x[:, :, 0]).tolist(), from_bits(x[:, :, 1]).tolist()
    ([7, 8, 12], [15, 0, 2])
    >>> from_bits(t[:, :, 0]).tolist()
    [22, 8, 14]
    """
    if n_samples < 1 or not 2 <= n_bits <= 62:
        raise ValueError(
            f"n_samples is {n_samples} and n_bits {n_bits}, but there must be at least 1 sample, "
            "and from 2 to 62 bits"
        )
    draw = rng.integers if isinstance(rng, Generator) else rng.randint
    a, b = (np.asarray(draw(0, 2 ** (n_bits - 1), n_samples)) for _ in range(2))
    x = np.stack([to_bits(a, n_bits), to_bits(b, n_bits)], axis=2)
    return x, to_bits(a + b, n_bits)[:, :, None]


def to_bits(numbers: ArrayLike, n_bits: int) -> NDArray[np.float64]:
    """Return bits, shape ``(n_bits, ...)``, the least significant first.

    Raises
    ------
    ValueError
        If a number is negative or needs more bits.
    """
    whole = np.asarray(numbers)
    if (whole < 0).any() or (whole >= 2**n_bits).any():
        raise ValueError(f"only numbers from 0 to {2**n_bits - 1} have {n_bits} bits")
    return np.stack([(whole >> k) & 1 for k in range(n_bits)]).astype(float)


def from_bits(bits: ArrayLike) -> NDArray[np.int64]:
    """Return whole numbers from bits (or probabilities of bits), shape ``(n_bits, ...)``."""
    rounded = (np.asarray(bits) > 0.5).astype(np.int64)
    values = 2 ** np.arange(len(rounded), dtype=np.int64)
    return np.asarray(np.tensordot(values, rounded, axes=1))
