"""Cells: what a recurrent net does at one time step.

A cell has

- ``params``: its shared weights, in order;
- ``initial_state(batch_size)``: the state before the first step;
- ``project(x)``: ``x W_x + b`` for all time steps at once, as one matrix product;
- ``W_h``: what the last step's output is multiplied with (`symrnn.unroll` does that);
- ``step(z, *state)``: the new state from ``z = x_t W_x + b + h_{t-1} W_h``, which arrives as a
  tuple with one array of shape ``(batch, n_hidden)`` for each gate.

`symrnn.unroll.unroll` turns the step into a scan over time.
"""

from typing import Any, NamedTuple

import numpy as np
import pytensor.tensor as pt
from numpy.typing import ArrayLike
from pytensor.tensor.variable import TensorVariable

from symrnn.initializers import Initializer, Random, identity, xavier_uniform
from symrnn.parameters import shared_parameter


class LinearState(NamedTuple):
    """State of a `LinearCell`."""

    h: Any


class LinearCell:
    """A linear recurrence, without gates and without a squashing function.

    ``h_t = x_t W_x + h_{t-1} W_h + b``

    Parameters
    ----------
    n_in, n_hidden
        Sizes of ``x_t`` and ``h_t``.
    rng
        Source of random numbers for the initial weights; not needed where both are given as arrays.
    W_x
        Initializer or array, shape ``(n_in, n_hidden)``.
    W_h
        Initializer or array, shape ``(n_hidden, n_hidden)``. The default, the identity, keeps
        what it has seen.
    bias
        False leaves b out.
    name
        Told apart by it where a graph has several cells: the weights are named ``name.W_x`` and so
        on. By default their names are those of the equation.

    Raises
    ------
    ValueError
        If a size is below 1 or an array does not have its shape.

    Examples
    --------
    A cell that counts: one input, one hidden unit, both weights 1.

    >>> cell = LinearCell(1, 1, W_x=[[1.0]], W_h=[[1.0]], bias=False)
    >>> [(w.name, w.get_value().tolist()) for w in cell.params]
    [('W_x', [[1.0]]), ('W_h', [[1.0]])]
    """

    n_gates = 1

    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        rng: Random | None = None,
        W_x: Initializer | ArrayLike = xavier_uniform,
        W_h: Initializer | ArrayLike = identity,
        bias: bool = True,
        name: str = "",
    ) -> None:
        self.n_in, self.n_hidden = n_in, n_hidden
        prefix = f"{name}." if name else ""
        self.W_x = shared_parameter(f"{prefix}W_x", (n_in, n_hidden), W_x, rng)
        self.W_h = shared_parameter(f"{prefix}W_h", (n_hidden, n_hidden), W_h, rng)
        self.b = shared_parameter(f"{prefix}b", (n_hidden,), np.zeros(n_hidden)) if bias else None
        self.params = [self.W_x, self.W_h, *([self.b] if bias else [])]

    def initial_state(self, batch_size: Any) -> LinearState:
        """Zeros of shape ``(batch, n_hidden)``, of the weights' dtype."""
        return LinearState(pt.zeros((batch_size, self.W_h.shape[0]), dtype=self.W_h.dtype))

    def project(self, x: TensorVariable) -> TensorVariable:
        """Return ``x W_x + b``: ``(time, batch, n_in)`` to ``(time, batch, n_hidden)``."""
        time, batch, features = x.shape
        z = x.reshape((time * batch, features)) @ self.W_x
        if self.b is not None:
            z = z + self.b
        return z.reshape((time, batch, self.W_x.shape[1]))

    def step(self, z: tuple[TensorVariable, ...], h: TensorVariable) -> LinearState:
        """Return the new state, shape ``(batch, n_hidden)``: the sum z itself."""
        (z_h,) = z
        return LinearState(z_h)
