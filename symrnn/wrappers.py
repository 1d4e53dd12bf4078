"""Cells around cells: layer normalisation and zoneout for any cell of `symrnn.cells`.

A wrapped cell is itself a cell for `symrnn.unroll`. Where both are wanted,
normalisation goes inside: ``Zoneout(LayerNormalised(cell), rates, noise)``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from symrnn.cells import Cell, Gates
from symrnn.noise import Noise
from symrnn.parameters import shared_parameter


class LayerNormalised:
    """A cell whose gates are normalised over the hidden units (Ba et al., 2016).

    Each gate's part from the input and its part from the state are normalised by themselves:
    ``N(a) = gain * (a - mean(a)) / sqrt(var(a) + epsilon)``; the cell's bias stays outside.

    Parameters
    ----------
    cell
        Any cell; its weights come first in `params`.
    epsilon
        Keeps the division finite.

    Examples
    --------
    >>> from symrnn.cells import LSTMCell
    >>> cell = LayerNormalised(LSTMCell(3, 5, np.random.default_rng(1)))
    >>> [w.name for w in cell.params]
    ['W_x', 'W_h', 'b', 'gain_x', 'gain_h']
    """

    additive = False

    def __init__(self, cell: Cell, epsilon: float = 1e-5) -> None:
        self.cell, self.epsilon = cell, epsilon
        self.n_in, self.n_hidden, self.n_gates = cell.n_in, cell.n_hidden, cell.n_gates
        self.State, self.W_x, self.W_h = cell.State, cell.W_x, cell.W_h
        self.n_recurrent_gates = getattr(cell, "n_recurrent_gates", cell.n_gates)
        prefix = f"{cell.name}." if cell.name else ""
        self.gain_x, self.gain_h = (
            shared_parameter(f"{prefix}{name}", (w,), np.ones(w))
            for name, w in (
                ("gain_x", self.n_gates * self.n_hidden),
                ("gain_h", self.n_recurrent_gates * self.n_hidden),
            )
        )
        self.params = [*cell.params, self.gain_x, self.gain_h]

    def initial_state(self, batch_size: Any) -> Any:
        """As the cell's own."""
        return self.cell.initial_state(batch_size)

    def project(self, x: TensorVariable) -> TensorVariable:
        """Return the normalised ``x W_x``, plus b."""
        b = self.cell.b
        z = self.cell.project(x) if b is None else self.cell.project(x) - b
        time, batch, width = z.shape
        gates = z.reshape((time, batch, self.n_gates, self.n_hidden))
        z = self._normalise(gates).reshape((time, batch, width)) * self.gain_x
        return z if b is None else z + b

    def step(self, zx: Gates, zh: Gates, *state: TensorVariable) -> Any:
        """Return the cell's new state from normalised gates."""
        H = self.n_hidden
        zh = tuple(
            self.gain_h[k * H : (k + 1) * H] * self._normalise(gate) for k, gate in enumerate(zh)
        )
        if self.cell.additive:
            return self.cell.step(tuple(a + b for a, b in zip(zx, zh, strict=True)), *state)
        return self.cell.step(zx, zh, *state)

    def _normalise(self, a: TensorVariable) -> TensorVariable:
        centred = a - a.mean(axis=-1, keepdims=True)
        variance = (centred**2).mean(axis=-1, keepdims=True)
        return centred / pt.sqrt(variance + self.epsilon)


class Zoneout:
    """A cell whose units keep their old state now and then (Krueger et al., 2017).

    ``s_t = m * s_{t-1} + (1 - m) * step(...)`` with ``m ~ Bernoulli(rate)`` for each unit and step
    while training, and with ``m = rate`` otherwise.

    Parameters
    ----------
    cell
        Any cell; the weights are its own.
    rates
        Rate of each field of the state, for example ``{"h": 0.05, "c": 0.5}``.
    noise
        Source of the random masks for training; None for use. Both may share one cell's weights.

    Raises
    ------
    ValueError
        If a rate is not within [0, 1) or its field is not in the state.

    Examples
    --------
    >>> from symrnn.cells import LSTMCell
    >>> lstm = LSTMCell(3, 5, np.random.default_rng(1))
    >>> rates = {"h": 0.05, "c": 0.5}
    >>> in_training = Zoneout(lstm, rates, noise=Noise(np.random.default_rng(2)))
    >>> in_use = Zoneout(lstm, rates, noise=None)
    >>> in_training.params == in_use.params == lstm.params
    True
    """

    def __init__(self, cell: Any, rates: dict[str, float], noise: Noise | None) -> None:
        fields = cell.State._fields
        for name, rate in rates.items():
            if name not in fields:
                raise ValueError(f"{name} is not in the cell's state, which has {fields}")
            if not 0 <= rate < 1:
                raise ValueError(f"the rate of {name} is {rate}, but must be in [0, 1)")
        self.cell, self.noise = cell, noise
        self.rates = [rates.get(name, 0.0) for name in fields]
        self.n_in, self.n_hidden, self.n_gates = cell.n_in, cell.n_hidden, cell.n_gates
        self.State, self.additive, self.params = cell.State, cell.additive, cell.params
        self.W_x, self.W_h = cell.W_x, cell.W_h
        self.n_recurrent_gates = getattr(cell, "n_recurrent_gates", cell.n_gates)
        self.initial_state, self.project = cell.initial_state, cell.project

    def renewed(self, shape: Sequence[Any]) -> list[TensorVariable | None]:
        """For each field, which units take the new state: truth values of `shape`."""
        if self.noise is None:
            return [None] * len(self.rates)
        return [self.noise.mask(1 - rate, shape) if rate else None for rate in self.rates]

    def step(self, *gates_and_state: Any) -> Any:
        """Return the cell's new state, or its mean with the old one if not in training."""
        new = self.cell.step(*gates_and_state)
        if self.noise is not None:
            return new
        old = gates_and_state[-len(new) :]
        rates = [np.asarray(rate, dtype=self.W_h.dtype) for rate in self.rates]
        return self.State(
            *(rate * o + (1 - rate) * n for rate, o, n in zip(rates, old, new, strict=True))
        )
