"""Copy tasks for nets with an external memory (Graves et al., 2014): reproduce vectors of bits.

Arrays are time-major. The target t belongs to the last ``len(t)`` steps, in which the input is 0.
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
    """Make sequences of random vectors that are to be copied after a mark.

    Parameters
    ----------
    length
        Vectors in a sequence.
    rng
        Random generator.
    n_samples, n_bits
        Number of sequences, and of bits in a vector.
    dtype
        Data type of the arrays.

    Returns
    -------
    x : array of shape (2 * length + 1, n_samples, n_bits + 1)
        The vectors; a 1 in the last feature, the mark; and zeros.
    t : array of shape (length, n_samples, n_bits)
        The vectors.

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
    """Make sequences of random vectors that are to be copied several times, then a mark.

    Parameters
    ----------
    length
        Vectors in a sequence.
    repeats
        How many copies are wanted.
    rng
        Random generator.
    n_samples, n_bits
        Number of sequences, and of bits in a vector.
    dtype
        Data type of the arrays, which must hold `repeats`.

    Returns
    -------
    x : array of shape (length + 1 + length * repeats + 1, n_samples, n_bits + 1)
        The vectors; `repeats` in the last feature, the mark; and zeros. With ``repeats=1`` the task
        is that of `copying`, except for the mark at the end.
    t : array of shape (length * repeats + 1, n_samples, n_bits + 1)
        The vectors, `repeats` times; and a 1 in the last feature, the mark at the end.

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
        raise TypeError(f"dtype is {np.dtype(dtype)}, but the mark is a number: use 'float32'")
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
    """Yield batches of `copying`, or with `repeats` of `repeat_copying`.

    Parameters
    ----------
    n_batches
        Number of batches.
    batch_size
        Sequences in a batch.
    rng
        Random generator.
    lengths
        The smallest and the largest number of vectors in a sequence. Each batch draws one for all
        of its sequences, so there is no padding.
    repeats
        The smallest and the largest number of copies, drawn once per batch too. Default: `copying`.
    n_bits
        Bits in a vector.
    dtype
        Data type of the arrays.

    Returns
    -------
    Iterator of (x, t)
        See `copying` and `repeat_copying` for their shapes.

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
    """Return the vectors at the start of an input of zeros, and `repeats` times as a target."""
    check_rng(rng)
    check_sizes(length=length, n_samples=n_samples, n_bits=n_bits)
    bits = rng.integers(2, size=(length, n_samples, n_bits)).astype(dtype)
    x = np.zeros((time, n_samples, n_bits + 1), dtype)
    x[:length, :, :n_bits] = bits
    return x, np.tile(bits, (repeats, 1, 1))
