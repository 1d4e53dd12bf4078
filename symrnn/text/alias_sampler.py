"""The alias method: draw from any discrete distribution in constant time."""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray


class AliasSampler:
    """Draws token ids with given probabilities in constant time (Walker, 1977; Vose, 1991).

    The ids 0 ... n - 1 are put into n boxes of equal size. Where one is too rare to fill its box, a
    frequent one, the alias, fills the rest. A draw takes a box, and then one of the two in it.
    Filling the boxes takes time in proportion to n.

    Parameters
    ----------
    weights
        Proportional to the probabilities, shape ``(n,)``, finite and not negative; an id of weight
        0 is never drawn. For negative samples ``counts ** 0.75`` (Mikolov et al., 2013b).

    Examples
    --------
    >>> sampler = AliasSampler([3, 0, 1])
    >>> sampler.draw((2, 5), rng=np.random.default_rng(1))
    array([[0, 0, 0, 0, 0],
           [0, 2, 0, 0, 0]])
    >>> sampler.probabilities()
    array([0.75, 0.  , 0.25])
    """

    def __init__(self, weights: ArrayLike) -> None:
        w = np.asarray(weights, dtype=np.float64)
        if w.ndim != 1 or not np.isfinite(w).all() or (w < 0).any() or not w.any():
            raise ValueError(
                "the weights must be a row of finite numbers, none negative and not all 0, for "
                f"example counts ** 0.75, but have shape {w.shape} and are {w}"
            )
        share = w / w.sum() * len(w)  # 1 fills a box
        self._part, self._alias = np.ones(len(w)), np.arange(len(w))
        left = share.tolist()
        small = [k for k, value in enumerate(left) if value < 1]
        large = [k for k, value in enumerate(left) if value >= 1]
        while small and large:
            k, filler = small.pop(), large[-1]
            self._part[k], self._alias[k] = left[k], filler
            left[filler] -= 1 - left[k]
            if left[filler] < 1:
                small.append(large.pop())
        for k in small:  # full but for rounding; what has weight 0 must not be drawn all the same
            if w[k] == 0:
                self._part[k], self._alias[k] = 0, int(w.argmax())

    def __len__(self) -> int:
        return len(self._part)

    def draw(self, shape: int | Sequence[int], *, rng: Generator) -> NDArray[np.int64]:
        """Return ids of the given shape, int64."""
        where = rng.random(shape) * len(self)
        box = where.astype(np.int64)
        return np.where(where - box < self._part[box], box, self._alias[box])

    def probabilities(self) -> NDArray[np.float64]:
        """Return the probabilities with which the boxes draw, shape ``(n,)``."""
        n = len(self)
        return (self._part + np.bincount(self._alias, 1 - self._part, minlength=n)) / n
