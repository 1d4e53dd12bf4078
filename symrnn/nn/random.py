"""Random numbers in graphs: new ones at each call of a function, the same from one seed.

A graph draws from generators that are shared variables, one for each draw. `symrnn.function`
updates them at each call; with plain `pytensor.function` give it
``updates=symrnn.graph_updates(loss) | ...``.
"""

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
from numpy.random import Generator
from pytensor import config
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_rng
from symrnn.compiling.shapes import of_shape


def draw_mask(rng: Generator, keep: float, shape: Sequence[Any]) -> TensorVariable:
    """Truth values of `shape` (numbers or symbolic), each true with probability `keep`.

    `rng` seeds the graph's own generator.

    Examples
    --------
    >>> import numpy as np
    >>> from symrnn.compiling.function import function
    >>> draw = function([], draw_mask(np.random.default_rng(1), 0.5, (1000,)))
    >>> first, second = draw(), draw()
    >>> bool(400 < first.sum() < 600), bool((first == second).all())
    (True, False)
    """
    return pt.lt(draw_uniform(rng, shape), keep)


def draw_uniform(rng: Generator, shape: Sequence[Any]) -> TensorVariable:
    """Numbers of `shape`, uniform within [0, 1); `rng` seeds the graph's own generator."""
    generator = _generator(rng)
    return of_shape(lambda size: generator.uniform(0.0, 1.0, size=size)[1], shape)


def draw_normal(rng: Generator, shape: Sequence[Any]) -> TensorVariable:
    """Numbers of `shape` from N(0, 1), dtype floatX; `rng` seeds the graph's own generator."""
    generator = _generator(rng)
    numbers = of_shape(lambda size: generator.normal(0.0, 1.0, size=size)[1], shape)
    return numbers.astype(config.floatX)


def _generator(rng: Generator) -> Any:
    check_rng(rng)
    return pt.random.shared_rng(seed=int(rng.integers(2**32)))
