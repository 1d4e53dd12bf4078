"""The adding problem: of many numbers two are marked, and their sum is the target."""

import numpy as np
from numpy.random import Generator, RandomState
from numpy.typing import NDArray

from symrnn._validate import check_rng, check_sizes, check_whole


def adding(
    n_samples: int = 1, n_steps: int = 100, *, rng: Generator | RandomState
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Make sequences of numbers, two of them marked, and the sums of the marked ones.

    ``x = (number, mark)``, ``t = sum of number * mark over all steps``

    It tests how long a net can remember (Hochreiter and Schmidhuber, 1997; here with numbers
    uniform in [0, 1) and marks as in Arjovsky et al., 2016: one mark is in the first half of the
    sequence, the other in the second). The first number has to be kept through many that must not
    be added. The baseline that always predicts 1, the mean, has a mean squared error of 1/6, the
    variance of the sum of two such numbers.

    Parameters
    ----------
    n_samples, n_steps
        Number of sequences, and of steps in each, at least 2.
    rng
        Random generator.

    Returns
    -------
    x : array of shape (time, samples, 2)
        Numbers and marks, float64, time first.
    t : array of shape (samples, 1)
        Sums of the two marked numbers.

    Examples
    --------
    >>> x, t = adding(n_samples=1, n_steps=6, rng=np.random.default_rng(1))
    >>> x[:, 0, 0].round(2).tolist()
    [0.51, 0.95, 0.14, 0.95, 0.31, 0.42]
    >>> x[:, 0, 1].astype(int).tolist(), t.round(2).tolist()
    ([1, 0, 0, 0, 0, 1], [[0.94]])
    """
    check_rng(rng, legacy=True)
    check_sizes(n_samples=n_samples)
    check_whole("n_steps", n_steps, least=2)
    draw = rng.integers if isinstance(rng, Generator) else rng.randint
    half, samples = n_steps // 2, np.arange(n_samples)
    x = np.zeros((n_steps, n_samples, 2))
    x[:, :, 0] = rng.random((n_steps, n_samples))
    x[draw(0, half, n_samples), samples, 1] = 1
    x[draw(half, n_steps, n_samples), samples, 1] = 1
    return x, (x[:, :, 0] * x[:, :, 1]).sum(axis=0)[:, None]
