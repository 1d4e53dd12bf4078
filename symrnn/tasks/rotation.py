"""Rotation: classify in which direction, and how fast, a point goes round a circle.

The four classes differ only in the order of what is seen. The best possible classifier is known
(`best_guess`), so one knows how far a net is from it; and with noisy labels one can see whether a
net memorises.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from symrnn._validate import check_positive, check_rng, check_sizes, check_whole

TURNS = (-2, -1, 1, 2)
"""Number of turns in the sequences of each class; the sign is the direction."""


def rotation(
    n_samples: int,
    n_steps: int = 10,
    *,
    rng: Generator,
    noise: float = 0.6,
    label_noise: float = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Make noisy rotations and their classes.

    ``x_t = (cos a_t, sin a_t) + noise * N(0, 1)``, ``a_t = a_0 + 2 pi TURNS[class] t / n_steps``

    Parameters
    ----------
    n_samples, n_steps
        Number of sequences, and of steps in each, at least 5: with fewer, two classes can look the
        same. The start a_0 is anywhere on the circle.
    rng
        Random generator.
    noise
        Standard deviation of the noise that is added to both coordinates, at least 0.
    label_noise
        Probability that a label is wrong, within [0, 1]; a wrong label is one of the other three
        classes.

    Returns
    -------
    x : array of shape (time, samples, 2)
        float64.
    t : array of shape (samples,)
        Classes from 0 to 3, int64.

    Examples
    --------
    >>> x, t = rotation(n_samples=3, n_steps=8, rng=np.random.default_rng(1), noise=0)
    >>> x.shape, t.tolist(), np.hypot(*x[0].T).round(3).tolist()
    ((8, 3, 2), [1, 2, 3], [1.0, 1.0, 1.0])
    """
    check_rng(rng)
    check_sizes(n_samples=n_samples)
    check_whole("n_steps", n_steps, least=5)
    check_positive("noise", noise, or_zero=True)
    if not 0 <= label_noise <= 1:
        raise ValueError(f"label_noise is {label_noise}, but must be from 0 to 1")
    t = rng.integers(len(TURNS), size=n_samples)
    start = rng.uniform(0, 2 * np.pi, n_samples)
    angle = start + 2 * np.pi * np.take(TURNS, t) * np.arange(n_steps)[:, None] / n_steps
    x = np.stack([np.cos(angle), np.sin(angle)], axis=2)
    x += noise * rng.normal(size=x.shape)
    another = (t + rng.integers(1, len(TURNS), size=n_samples)) % len(TURNS)
    return x, np.where(rng.random(n_samples) < label_noise, another, t)


def best_guess(x: ArrayLike) -> NDArray[np.int64]:
    """Return the most probable class of each sequence, given how x was made.

    As a complex number ``z_t = x_t1 + i x_t2`` a rotation is ``exp(i a_t)``. Its likelihood, with
    an unknown start, grows with ``|sum_t z_t exp(-2 pi i turns t / n_steps)|``, so the best guess
    is the class where this is largest, whatever the noise.

    Parameters
    ----------
    x
        Shape ``(time, samples, 2)``, as `rotation` makes it.

    Returns
    -------
    array of shape (samples,)
        Classes from 0 to 3, int64.

    Examples
    --------
    >>> x, t = rotation(n_samples=1000, rng=np.random.default_rng(1))
    >>> float((best_guess(x) == t).mean())
    0.998
    """
    x = np.asarray(x)
    z = x[:, :, 0] + 1j * x[:, :, 1]  # (time, samples)
    turns, steps = np.array(TURNS), np.arange(len(z)) / len(z)
    likelihood = abs(np.exp(-2j * np.pi * turns[:, None] * steps) @ z)  # (classes, samples)
    return np.asarray(likelihood.argmax(axis=0))
