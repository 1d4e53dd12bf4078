"""Images of bars: each is determined by two factors, the position and the height of its bar."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from symrnn._validate import check_rng, check_sizes


class Bars(NamedTuple):
    """Images, and the factors that determine them."""

    images: NDArray[np.float64]
    """0 and 1, shape ``(samples, size, size)``; the first row is the top."""
    place: NDArray[np.int64]
    """The bar's first column, ``(samples,)``."""
    height: NDArray[np.int64]
    """The bar's height in pixels, ``(samples,)``."""


def bars(n_samples: int, *, rng: Generator, size: int = 8, width: int = 3) -> Bars:
    """Make images of one bar that stands on the bottom edge, all equally likely.

    There are ``(size - width + 1) * size`` different images, so no model can give them a higher
    mean log likelihood than minus the logarithm of that number (`best_log_likelihood`).

    Parameters
    ----------
    n_samples
        Number of images.
    rng
        Random generator.
    size
        Pixels along each edge of an image.
    width
        Pixels of the bar's width, at most `size`.

    Returns
    -------
    Bars
        Named tuple ``(images, place, height)``.

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
    """Return the mean log likelihood of the images under their own distribution, in nats.

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
