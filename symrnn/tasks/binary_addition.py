"""Binary addition: read the bits of two numbers from right to left, output those of their sum."""

import numpy as np
from numpy.random import Generator, RandomState
from numpy.typing import ArrayLike, NDArray

from symrnn._validate import check_rng, check_sizes, check_whole


def binary_addition(
    n_samples: int = 1, n_bits: int = 8, *, rng: Generator | RandomState
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Make pairs of random numbers and their sums, as bits, the least significant first.

    A net that reads them in this order only has to remember the carry. The numbers are below
    ``2^(n_bits - 1)``, so that the sum does not overflow.

    Parameters
    ----------
    n_samples, n_bits
        Number of sums, and of bits in each, from 2 to 62.
    rng
        Random generator.

    Returns
    -------
    x : array of shape (time, samples, 2)
        Bits of both numbers, float64, time first.
    t : array of shape (time, samples, 1)
        Bits of their sum.

    Examples
    --------
    >>> x, t = binary_addition(n_samples=3, n_bits=5, rng=np.random.default_rng(1))
    >>> from_bits(x[:, :, 0]).tolist(), from_bits(x[:, :, 1]).tolist()
    ([7, 8, 12], [15, 0, 2])
    >>> from_bits(t[:, :, 0]).tolist()
    [22, 8, 14]
    """
    check_rng(rng, legacy=True)
    check_sizes(n_samples=n_samples)
    check_whole("n_bits", n_bits, most=62, least=2)
    draw = rng.integers if isinstance(rng, Generator) else rng.randint
    a, b = (np.asarray(draw(0, 2 ** (n_bits - 1), n_samples)) for _ in range(2))
    x = np.stack([to_bits(a, n_bits), to_bits(b, n_bits)], axis=2)
    return x, to_bits(a + b, n_bits)[:, :, None]


def to_bits(numbers: ArrayLike, n_bits: int) -> NDArray[np.float64]:
    """Return the bits of whole numbers, shape ``(n_bits, ...)``, the least significant first.

    Examples
    --------
    >>> to_bits([6, 1], 3).T.astype(int).tolist()
    [[0, 1, 1], [1, 0, 0]]
    """
    whole = np.asarray(numbers)
    if (whole < 0).any() or (whole >= 2**n_bits).any():
        raise ValueError(f"only numbers from 0 to {2**n_bits - 1} have {n_bits} bits")
    return np.stack([(whole >> k) & 1 for k in range(n_bits)]).astype(float)


def from_bits(bits: ArrayLike) -> NDArray[np.int64]:
    """Return whole numbers from bits (or probabilities of bits), shape ``(n_bits, ...)``.

    Examples
    --------
    >>> from_bits([0.1, 0.8, 0.9])
    array(6)
    """
    rounded = (np.asarray(bits) > 0.5).astype(np.int64)
    values = 2 ** np.arange(len(rounded), dtype=np.int64)
    return np.asarray(np.tensordot(values, rounded, axes=1))
