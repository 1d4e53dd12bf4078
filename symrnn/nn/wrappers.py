"""Wrappers around cells: layer normalisation, zoneout and variational dropout for any cell.

A wrapped cell is itself a cell for `symrnn.unroll`. To combine several, put normalisation
innermost and variational dropout outermost:
``VariationalDropout(Zoneout(LayerNormalised(cell), rates, rng=rng), rate, rng=rng)``.
"""

from collections import namedtuple
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_fraction, check_positive, check_rng
from symrnn.nn.cells import Cell, Gates
from symrnn.nn.module import Module, parameter
from symrnn.nn.random import draw_mask


class WrappedCell(Module):
    """A wrapper around a cell: attributes that it does not have are the inner cell's."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def __getattr__(self, name: str) -> Any:
        if name == "cell" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.cell, name)


class LayerNormalised(WrappedCell):
    """A cell whose gates are normalised over the hidden units (Ba et al., 2016).

    Each gate's part from the input and its part from the state are normalised separately,
    ``N(a) = gain * (a - mean(a)) / sqrt(var(a) + epsilon)``, and the cell's bias is added:

    ``zx_t = N(x_t W_x) + b`` and ``zh_t = N(h_{t-1} W_h)``

    A mean over units is more than elementwise: such a cell is trained by the scan's own gradient,
    some five to twenty times slower than the cell alone.

    Parameters
    ----------
    cell
        Any cell with two units or more (a single one is its own mean).
    epsilon
        Keeps the division finite.

    Examples
    --------
    >>> from symrnn.nn.cells import LSTMCell
    >>> LayerNormalised(LSTMCell(3, 5, rng=np.random.default_rng(1)))
    LayerNormalised: 220 weights
      cell: LSTMCell
        W_x (3, 20)
        W_h (5, 20)
        b (20,)
      gain_x (20,)
      gain_h (20,)
    """

    additive = elementwise = False

    def __init__(self, cell: Cell, *, epsilon: float = 1e-5) -> None:
        if not isinstance(cell, Cell):
            raise TypeError(
                f"LayerNormalised needs a cell that has the weights, not {type(cell).__name__}: "
                "normalisation goes inside, Zoneout(LayerNormalised(cell), rates, rng=rng)"
            )
        check_positive("epsilon", epsilon)
        if cell.n_hidden < 2:
            raise ValueError("LayerNormalised needs a cell with 2 units or more: one is its mean")
        if not cell.elementwise:
            raise ValueError(
                f"this {type(cell).__name__} has a product inside its step, which would not be "
                "normalised: GRUCell(reset='after') has none"
            )
        super().__init__(cell)
        self.epsilon = epsilon
        self.gain_x, self.gain_h = (
            parameter(name, (n * cell.n_hidden,), np.ones(n * cell.n_hidden))
            for name, n in (("gain_x", cell.n_gates), ("gain_h", cell.n_recurrent_gates))
        )

    def project(self, x: TensorVariable) -> TensorVariable:
        """Return the normalised ``x W_x``, plus b."""
        time, batch, features = x.shape
        n_rows, width = time * batch, self.W_x.shape[1]
        gates = x.reshape((n_rows, features)) @ self.W_x
        gates = self._normalise(gates.reshape((n_rows, self.n_gates, self.n_hidden)))
        z = gates.reshape((time, batch, width)) * self.gain_x
        return z if self.cell.b is None else z + self.cell.b

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
        # as a bare number epsilon could make float64 of float32
        return centred / pt.sqrt(variance + np.asarray(self.epsilon, dtype=a.dtype))


class Zoneout(WrappedCell):
    """A cell whose units keep their old state at random (Krueger et al., 2017).

    ``s_t = m * s_{t-1} + (1 - m) * step(...)`` with ``m ~ Bernoulli(rate)`` for each unit and step
    in training, and with ``m = rate`` at inference.

    Parameters
    ----------
    cell
        Any cell, whose weights are used.
    rates
        Rate of each field of the state, for example ``{"h": 0.05, "c": 0.5}``.
    rng
        Source of the random masks, for the training graph; None at inference. Wrap one cell twice
        to have both with the same weights.

    Examples
    --------
    >>> from symrnn.nn.cells import LSTMCell
    >>> lstm = LSTMCell(3, 5, rng=np.random.default_rng(1))
    >>> rates = {"h": 0.05, "c": 0.5}
    >>> in_training = Zoneout(lstm, rates, rng=np.random.default_rng(2))
    >>> at_inference = Zoneout(lstm, rates)
    >>> in_training.params == at_inference.params == lstm.params
    True
    """

    _borrows = True

    def __init__(self, cell: Any, rates: dict[str, float], *, rng: Generator | None = None) -> None:
        if isinstance(cell, Zoneout):
            raise TypeError("this cell has zoneout already: give all rates at once")
        if rng is not None:
            check_rng(rng)
        if not isinstance(rates, dict):
            raise TypeError(f"rates is {rates!r}, but must name fields of the state: {{'h': 0.1}}")
        fields = cell.State._fields
        for name, rate in rates.items():
            if name not in fields:
                raise ValueError(f"{name} is not in the cell's state, which has {fields}")
            check_fraction(f"the rate of {name}", rate)
        super().__init__(cell)
        self.rng, self.rates = rng, [rates.get(name, 0.0) for name in fields]

    def update_mask(self, shape: Sequence[Any]) -> list[TensorVariable | None]:
        """For each field, which units take the new state: truth values of `shape`."""
        if self.rng is None:
            return [None] * len(self.rates)
        return [draw_mask(self.rng, 1 - rate, shape) if rate else None for rate in self.rates]

    def step(self, *gates_and_state: Any) -> Any:
        """Return the cell's new state; at inference its weighted mean with the old one."""
        new = self.cell.step(*gates_and_state)
        if self.rng is not None:
            return new
        old = gates_and_state[-len(new) :]
        rates = [np.asarray(rate, dtype=self.W_h.dtype) for rate in self.rates]
        return self.State(
            *(rate * o + (1 - rate) * n for rate, o, n in zip(rates, old, new, strict=True))
        )


@cache  # equal cells have one kind of state, which is no attribute: so a cell can be pickled
def _dropped_state(fields: tuple[str, ...]) -> Any:
    h, *others = fields
    return namedtuple("DroppedState", [h, "kept", *others, "m"])


class VariationalDropout(WrappedCell):
    """A cell that drops the same units at all steps of a sequence (Gal and Ghahramani, 2016).

    ``kept_t = step(x_t, m * kept_{t-1})`` and ``h_t = m * kept_t``, with
    ``m ~ Bernoulli(1 - rate) / (1 - rate)`` for each unit of each sequence

    The dropped h goes into the next step's product with W_h and to the layer above. What the gates
    carry over elementwise, such as ``u_t * h_{t-1}`` of a GRU or c of an LSTM, is not dropped. (The
    paper draws another m for the layer above.)

    This is for the training graph. At inference there is no dropout: unroll the inner cell, which
    has the same weights.

    Parameters
    ----------
    cell
        Any cell, whose weights are used.
    rate
        Fraction of the units dropped, within [0, 1).
    rng
        Source of the random masks.

    Notes
    -----
    Its state has the fields h, kept, then those of the cell's state after its first, and m. The
    mask is part of the initial state, so the final state continues the same sequence with the same
    mask. To carry the inner cell's state from call to call, with a new mask in each, as in
    truncated backpropagation::

        carried = CarriedState(lstm, batch_size)
        start = in_training.start(carried.state)
        outputs, final = unroll(in_training, x, initial_state=start)
        updates = carried.updates(in_training.inner(final))

    Examples
    --------
    >>> from symrnn.nn.cells import LSTMCell
    >>> lstm = LSTMCell(3, 5, rng=np.random.default_rng(1))
    >>> in_training = VariationalDropout(lstm, 0.3, rng=np.random.default_rng(2))
    >>> in_training.params == lstm.params, in_training.State._fields
    (True, ('h', 'kept', 'c', 'm'))
    """

    _borrows = True

    def __init__(self, cell: Any, rate: float, *, rng: Generator) -> None:
        if "kept" in cell.State._fields:
            raise TypeError("this cell has variational dropout already: give one rate for all")
        check_rng(rng)
        check_fraction("rate", rate)
        super().__init__(cell)
        self.rate, self.rng = rate, rng

    @property
    def State(self) -> Any:  # noqa: N802
        """The kind of state: a named tuple of h, kept, the cell's other fields, and m."""
        return _dropped_state(self.cell.State._fields)

    def initial_state(self, batch_size: Any) -> Any:
        """Return the inner cell's initial state and a mask m, new at each call of the function."""
        return self.start(self.cell.initial_state(batch_size))

    def start(self, state: Sequence[Any]) -> Any:
        """Return a state of the cell, such as a carried one, with a new mask."""
        h, *others = (pt.as_tensor_variable(s) for s in state)
        if h.ndim != 2:
            raise ValueError(
                f"the state's h has {h.ndim} axes, but must be (batch, n_hidden): for one that all "
                "sequences share, pt.broadcast_to(h, (batch, n_hidden))"
            )
        m = draw_mask(self.rng, 1 - self.rate, tuple(h.shape)).astype(h.dtype)
        m = m / np.asarray(1 - self.rate, dtype=h.dtype)
        return self.State(m * h, h, *others, m)

    def inner(self, state: Sequence[Any]) -> Any:
        """Return the inner cell's state, without the mask: what can be carried to the next call."""
        _, kept, *others, _ = state
        return self.cell.State(kept, *others)

    def update_mask(self, shape: Sequence[Any]) -> list[TensorVariable | None]:
        """For each field, which units take the new state: those of the inner cell."""
        h, *others = self.cell.update_mask(shape)
        return [h, h, *others, None]

    def step(self, *gates_and_state: Any) -> Any:
        """Return the inner cell's new state, with h after dropout, and h before it as kept."""
        n_gates = 1 if self.additive else 2
        gates, (_, kept, *others, m) = gates_and_state[:n_gates], gates_and_state[n_gates:]
        kept, *others = self.cell.step(*gates, kept, *others)
        return self.State(m * kept, kept, *others, m)
