"""Initial states of recurrent nets: learned ones, and those carried over from the last call."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_whole


def learned_initial_state(cell: Any) -> Any:
    """Make an initial state to train: a tuple of shared vectors ``(n_hidden,)``, zeros at first.

    Give it to `symrnn.unroll` as `initial_state` and train it, ``params = [*cell.params, *state]``,
    or make it an attribute of a `symrnn.Module`.

    Examples
    --------
    >>> import numpy as np
    >>> from symrnn.nn.cells import LSTMCell
    >>> learned_initial_state(LSTMCell(3, 5, rng=np.random.default_rng(1)))
    LSTMState(h=h_0, c=c_0)
    """
    return _zeros(cell, "{}_0")


def _zeros(cell: Any, name: str, *batch: int) -> Any:
    """The cell's kind of state, of shared zeros in the dtype of its weights."""
    if isinstance(cell, list | tuple):
        raise TypeError("a state belongs to one cell: make one for each, [... for cell in cells]")
    if hasattr(cell, "start"):
        raise TypeError(
            f"the state of {type(cell).__name__} contains a random mask, which is neither learned "
            "nor carried: make the state for the cell inside, and give unroll cell.start(state)"
        )
    prefix = (cell.W_h.name or "").rpartition("W_h")[0]  # path of the cell in a model
    zeros = np.zeros((*batch, cell.n_hidden), dtype=cell.W_h.dtype)
    names = (prefix + name.format(field) for field in cell.State._fields)
    return cell.State(*(pytensor.shared(zeros, name=n) for n in names))


class CarriedState:
    """A state that is kept from one call of a compiled function to the next (a stateful RNN).

    Parameters
    ----------
    cell
        The cell whose state it is.
    batch_size
        Number of sequences in a batch.

    Attributes
    ----------
    state
        The cell's kind of tuple with shared variables ``(batch, n_hidden)``: the `initial_state`
        for `symrnn.unroll`. The gradient stops there.

    Examples
    --------
    A counter that continues until it is reset.

    >>> import numpy as np, pytensor, pytensor.tensor as pt
    >>> from symrnn.nn.cells import LinearCell
    >>> from symrnn.nn.recurrent import unroll
    >>> x, cell = pt.tensor3("x"), LinearCell(1, 1, W_x=[[1.0]], W_h=[[1.0]], bias=False)
    >>> carried = CarriedState(cell, batch_size=1)
    >>> outputs, final = unroll(cell, x, initial_state=carried.state)
    >>> updates = carried.updates(final)
    >>> count = pytensor.function([x], final.h[0, 0], updates=updates, mode="FAST_COMPILE")
    >>> ones = np.ones((3, 1, 1), dtype=x.dtype)
    >>> [float(count(ones)), float(count(ones))]
    [3.0, 6.0]
    >>> carried.reset()
    >>> float(count(ones))
    3.0
    """

    def __init__(self, cell: Any, batch_size: int) -> None:
        check_whole("batch_size", batch_size)
        self.state = _zeros(cell, "carried_{}", batch_size)

    def updates(self, final: Sequence[TensorVariable]) -> dict[SharedVariable, TensorVariable]:
        """Return the updates that keep the `final` state of a call for the next one."""
        if not isinstance(final, list | tuple):
            raise TypeError("final must be the state that unroll returns, the second of the two")
        if len(final) != len(self.state):
            raise ValueError(f"the state has {len(self.state)} arrays, but {len(final)} are given")
        return dict(zip(self.state, final, strict=True))

    def reset(self, streams: Any = slice(None)) -> None:
        """Set the state to 0: of all sequences, or of those with the indices `streams`."""
        for variable in self.state:
            value = variable.get_value()
            value[streams] = 0
            variable.set_value(value)
