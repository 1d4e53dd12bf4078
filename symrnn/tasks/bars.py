"""Images of bars: two things say all about an image, where the bar stands and how high it is."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from symrnn._validate import check_rng, check_sizes


class Bars(NamedTuple):
    """Images, and what they are made of."""

    images: NDArray[np.float64]
    """0 and 1, shape ``(samples, size, size)``; the first row is the upper edge."""
    place: NDArray[np.int64]
    """The bar's first column, ``(samples,)``."""
    height: NDArray[np.int64]
    """The bar's height in pixels, ``(samples,)``."""


def bars(n_samples: int, *, rng: Generator, size: int = 8, width: int = 3) -> Bars:
    """Draw images of one bar that stands on the lower edge, each equally likely.

    There are ``(size - width + 1) * size`` different images, so no model can give them a mean log
    probability above minus the logarithm of that number (`best_log_likelihood`).

    Parameters
    ----------
    rng
        Source of random numbers.
    n_samples
        How many images, at least 1.
    size, width
        Pixels of an image's edge, and of the bar; the width is at most the size.

    Raises
    ------
    TypeError, ValueError
        If something is not as said.

    Examples
    --------
    >>> images, place, height = bars(1, rng=np.random.default_rng(1), size=5, width=2)
    >>> images[0].astype(int)
    array([[0, 0, 0, 0, 0],
           [0, 0, 0, 0, 0],
           [0, 1, 1, 0, 0],
           [0, 1, 1, 0, 0],
           [0, 1, 1, 0, 0]])
    >>> place, height
    (array([1]), array([3]))
    """
    check_rng(rng)
    check_sizes(n_samples=n_samples)
    _check(size, width)
    place = rng.integers(0, size - width + 1, n_samples)
    height = rng.integers(1, size + 1, n_samples)
    across, down = np.arange(size), np.arange(size)[:, None]
    images = (
        (across >= place[:, None, None])
        & (across < place[:, None, None] + width)
        & (down >= size - height[:, None, None])
    )
    return Bars(images.astype(float), place, height)


def best_log_likelihood(*, size: int = 8, width: int = 3) -> float:
    """Return the mean log probability of the images under what they are drawn from, in nats.

    Examples
    --------
    >>> round(best_log_likelihood(), 3)  # -log 48
    -3.871
    """
    _check(size, width)
    return -float(np.log((size - width + 1) * size))


def _check(size: int, width: int) -> None:
    check_sizes(size=size, width=width)
    if width > size:
        raise ValueError(f"width is {width}, but must be at most the size, {size}")
