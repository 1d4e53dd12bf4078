"""Rotation: tell which way, and how fast, a point goes round a circle.

The four classes differ in nothing but the order of what is seen. Because the best possible answer
can be computed (`best_guess`), one knows how far a net is from it; and because a share of the
labels can be wrong, a net can be seen to learn by heart what it should not.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

TURNS = (-2, -1, 1, 2)
"""Turns in the whole sequence of each class; the sign is the way round."""


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
    rng
        Source of random numbers.
    n_samples, n_steps
        How many sequences, at least 1, and how long, at least 5: with fewer steps two classes can
        look the same. The start a_0 is anywhere on the circle.
    noise
        Standard deviation of what is added to each of the two coordinates, at least 0.
    label_noise
        Probability that a label is wrong, within [0, 1]; a wrong label is one of the other three
        classes.

    Returns
    -------
    x : array of shape (time, samples, 2)
        Float64, time first.
    t : array of shape (samples,)
        Classes from 0 to 3, int64.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> x, t = rotation(n_samples=3, n_steps=8, rng=np.random.default_rng(1), noise=0)
    >>> x.shape, t.tolist(), np.hypot(*x[0].T).round(3).tolist()
    ((8, 3, 2), [1, 2, 3], [1.0, 1.0, 1.0])
    """
    if n_samples < 1 or n_steps < 5:
        raise ValueError(
            f"n_samples is {n_samples} and n_steps {n_steps}, but there must be at least 1 sample, "
            "and at least 5 steps"
        )
    if not 0 <= noise < np.inf or not 0 <= label_noise <= 1:
        raise ValueError(
            f"noise is {noise} and label_noise {label_noise}, but noise must be 0 or positive, and "
            "label_noise from 0 to 1"
        )
    t = rng.integers(len(TURNS), size=n_samples)
    start = rng.uniform(0, 2 * np.pi, n_samples)
    angle = start + 2 * np.pi * np.take(TURNS, t) * np.arange(n_steps)[:, None] / n_steps
    x = np.stack([np.cos(angle), np.sin(angle)], axis=2)
    x += noise * rng.normal(size=x.shape)
    another = (t + rng.integers(1, len(TURNS), size=n_samples)) % len(TURNS)
    return x, np.where(rng.random(n_samples) < label_noise, another, t)


def best_guess(x: ArrayLike) -> NDArray[np.int64]:
    """Return the most probable class of each sequence, for those who know how x was made.

    As a complex number ``z_t = x_t1 + i x_t2`` a rotation is ``exp(i a_t)``. Its probability, with
    an unknown start, grows with ``|sum_t z_t exp(-2 pi i turns t / n_steps)|``, so the best guess
    is the class where this is largest, whatever the noise.

    Parameters
    ----------
    x
        As `rotation` makes it, shape ``(time, samples, 2)``.

    Examples
    --------
    >>> x, t = rotation(n_samples=1000, rng=np.random.default_rng(1))
    >>> float((best_guess(x) == t).mean())
    0.998
    """
    x = np.asarray(x)
    z = x[:, :, 0] + 1j * x[:, :, 1]  # (time, samples)
    turns, steps = np.array(TURNS), np.arange(len(z)) / len(z)
    likeness = abs(np.exp(-2j * np.pi * turns[:, None] * steps) @ z)  # (classes, samples)
    return np.asarray(likeness.argmax(axis=0))
