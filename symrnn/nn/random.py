"""Random numbers in graphs: new ones at each call of a function, the same from one seed."""

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
from numpy.random import Generator
from pytensor import config
from pytensor.graph.basic import Variable
from pytensor.tensor.variable import TensorVariable


class Noise:
    """Source of the random masks and other random numbers in a graph.

    A graph draws from generators that are shared variables, and a compiled function has to put
    their next states in place, or it draws the same numbers at each call. So compile with
    ``updates={**noise.updates, **other_updates}``.

    Parameters
    ----------
    rng
        Seeds the graph's generators, one for each draw.

    Attributes
    ----------
    updates
        The generators and their next states, of all that was drawn so far.

    Raises
    ------
    TypeError
        If `rng` is not a `numpy.random.Generator`.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> noise = Noise(np.random.default_rng(1))
    >>> mask = noise.mask(0.5, (1000,))
    >>> draw = pytensor.function([], mask, updates=noise.updates, mode="FAST_COMPILE")
    >>> first, second = draw(), draw()
    >>> bool(400 < first.sum() < 600), bool((first == second).all())
    (True, False)
    """

    def __init__(self, rng: Generator) -> None:
        if not isinstance(rng, Generator):
            raise TypeError(
                "random masks need a generator, for example numpy.random.default_rng(1), "
                f"and not {rng!r}"
            )
        self.rng = rng
        self.updates: dict[Variable, Variable] = {}

    def mask(self, keep: float, shape: Sequence[Any]) -> TensorVariable:
        """Truth values of `shape` (numbers or symbolic), each true with probability `keep`."""
        return pt.lt(self.uniform(shape), keep)

    def uniform(self, shape: Sequence[Any]) -> TensorVariable:
        """Numbers of `shape`, uniform within [0, 1)."""
        shared = self._generator()
        self.updates[shared], numbers = shared.uniform(0.0, 1.0, size=shape)
        return numbers

    def normal(self, shape: Sequence[Any]) -> TensorVariable:
        """Numbers of `shape`, of the standard normal distribution N(0, 1), dtype floatX."""
        shared = self._generator()
        self.updates[shared], numbers = shared.normal(0.0, 1.0, size=shape)
        return numbers.astype(config.floatX)

    def _generator(self) -> Any:
        return pt.random.shared_rng(seed=int(self.rng.integers(2**32)))
