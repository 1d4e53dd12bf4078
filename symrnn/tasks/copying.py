"""Copy tasks for nets with a memory (Graves et al., 2014): vectors of bits, to be said again.

Arrays are time-major. The answer t is due in the last ``len(t)`` steps; meanwhile the input is 0.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from symrnn._validate import check_bounds, check_rng, check_sizes

Batch = tuple[NDArray[Any], NDArray[Any]]


def copying(
    length: int, *, rng: Generator, n_samples: int = 1, n_bits: int = 8, dtype: Any = "float64"
) -> Batch:
    """Make random vectors that are to be copied once a mark has come.

    Parameters
    ----------
    rng
        Source of random numbers.
    length, n_samples, n_bits
        Vectors in a sequence, sequences, and bits in a vector; each at least 1.
    dtype
        Of the arrays.

    Returns
    -------
    x : array of shape (2 * length + 1, n_samples, n_bits + 1)
        The vectors; a 1 in the last feature, the mark; and zeros.
    t : array of shape (length, n_samples, n_bits)
        The vectors.

    Raises
    ------
    TypeError, ValueError
        If something is not as said.

    Examples
    --------
    >>> x, t = copying(length=2, rng=np.random.default_rng(1), n_bits=3)
    >>> x[:, 0].astype(int).tolist()
    [[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    >>> t[:, 0].astype(int).tolist()
    [[0, 1, 1], [1, 0, 0]]
    """
    x, t = _vectors(rng, length, 1, n_samples, n_bits, 2 * length + 1, dtype)
    x[length, :, n_bits] = 1
    return x, t


def repeat_copying(
    length: int,
    repeats: int,
    *,
    rng: Generator,
    n_samples: int = 1,
    n_bits: int = 8,
    dtype: Any = "float64",
) -> Batch:
    """Make random vectors that are to be said several times over, with a mark when that is done.

    Parameters
    ----------
    rng, length, n_samples, n_bits, dtype
        As in `copying`, but the dtype must hold the number of repeats.
    repeats
        How many times, at least 1.

    Returns
    -------
    x : array of shape (length + 1 + length * repeats + 1, n_samples, n_bits + 1)
        The vectors; `repeats` in the last feature, the mark; and zeros. So with the mark 1 the task
        is that of `copying`, but for the mark at the end.
    t : array of shape (length * repeats + 1, n_samples, n_bits + 1)
        The vectors, again and again; and a 1 in the last feature, the mark that ends the answer.

    Raises
    ------
    TypeError, ValueError
        If something is not as said.

    Examples
    --------
    >>> x, t = repeat_copying(length=1, repeats=3, rng=np.random.default_rng(1), n_bits=3)
    >>> x[:2, 0].tolist()
    [[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 3.0]]
    >>> t[:, 0].astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    """
    check_sizes(repeats=repeats)
    if np.dtype(dtype).kind not in "iuf":
        raise TypeError(f"dtype is {np.dtype(dtype)}, but the mark is a number: take 'float32'")
    x, t = _vectors(rng, length, repeats, n_samples, n_bits, length * (1 + repeats) + 2, dtype)
    x[length, :, n_bits] = repeats
    t = np.pad(t, [(0, 1), (0, 0), (0, 1)])
    t[-1, :, n_bits] = 1
    return x, t


def copying_batches(
    n_batches: int,
    *,
    batch_size: int,
    rng: Generator,
    lengths: tuple[int, int] = (1, 20),
    repeats: tuple[int, int] | None = None,
    n_bits: int = 8,
    dtype: Any = "float64",
) -> Iterator[Batch]:
    """Make batches of `copying`, or with `repeats` of `repeat_copying`.

    Parameters
    ----------
    rng
        Source of random numbers.
    n_batches, batch_size
        How many, and how many sequences in each.
    lengths, repeats
        The smallest and the largest: each batch draws one for all of its sequences, so that there
        is no padding.
    n_bits, dtype
        As in `copying`.

    Raises
    ------
    TypeError, ValueError
        If something is not as said.

    Examples
    --------
    >>> batches = copying_batches(3, rng=np.random.default_rng(1), batch_size=16)
    >>> [t.shape for _, t in batches]
    [(10, 16, 8), (16, 16, 8), (16, 16, 8)]
    """
    check_sizes(n_batches=n_batches, batch_size=batch_size, n_bits=n_bits)
    check_rng(rng)
    check_bounds("lengths", lengths)
    if repeats is not None:
        check_bounds("repeats", repeats)

    def batch() -> Batch:
        length = int(rng.integers(lengths[0], lengths[1] + 1))
        if repeats is None:
            return copying(length, rng=rng, n_samples=batch_size, n_bits=n_bits, dtype=dtype)
        times = int(rng.integers(repeats[0], repeats[1] + 1))
        return repeat_copying(
            length, times, rng=rng, n_samples=batch_size, n_bits=n_bits, dtype=dtype
        )

    return (batch() for _ in range(n_batches))


def _vectors(
    rng: Generator, length: int, repeats: int, n_samples: int, n_bits: int, time: int, dtype: Any
) -> Batch:
    """The vectors at the start of an input of zeros, and `repeats` times as an answer."""
    check_rng(rng)
    check_sizes(length=length, n_samples=n_samples, n_bits=n_bits)
    bits = rng.integers(2, size=(length, n_samples, n_bits)).astype(dtype)
    x = np.zeros((time, n_samples, n_bits + 1), dtype)
    x[:length, :, :n_bits] = bits
    return x, np.tile(bits, (repeats, 1, 1))
