"""Where a recurrent net starts: at a state that is learnt, or at the one where it stopped."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.tensor.variable import TensorVariable


def learnt_state(cell: Any) -> Any:
    """Initial state to be learnt: a tuple of shared vectors ``(n_hidden,)``, zeros at first.

    Give it to `symrnn.nn.recurrent.unroll` as `initial_state` and train it:
    ``params = [*cell.params, *state]``. A list of cells is refused with a TypeError.

    Examples
    --------
    >>> import numpy as np
    >>> from symrnn.nn.cells import LSTMCell
    >>> learnt_state(LSTMCell(3, 5, np.random.default_rng(1)))
    LSTMState(h=h_0, c=c_0)
    """
    return _zeros(cell, "{}_0")


def _zeros(cell: Any, name: str, *batch: int) -> Any:
    """The cell's kind of state with shared zeros, of the dtype of its weights."""
    if isinstance(cell, list | tuple):
        raise TypeError("a state belongs to one cell: make one for each, [... for cell in cells]")
    if hasattr(cell, "start"):
        raise TypeError(
            f"the state of {type(cell).__name__} has a random mask in it, which is neither learnt "
            "nor carried: make the state for the cell inside, and give unroll cell.start(state)"
        )
    prefix = f"{cell.name}." if cell.name else ""
    zeros = np.zeros((*batch, cell.n_hidden), dtype=cell.W_h.dtype)
    names = (prefix + name.format(field) for field in cell.State._fields)
    return cell.State(*(pytensor.shared(zeros, name=n) for n in names))


class CarriedState:
    """A state that stays from one call of a compiled function to the next.

    Parameters
    ----------
    cell
        The cell whose state it is.
    batch_size
        How many sequences go side by side.

    Attributes
    ----------
    state
        The cell's kind of tuple with shared variables ``(batch, n_hidden)``: the `initial_state`
        for `symrnn.nn.recurrent.unroll`. The gradient stops there.

    Raises
    ------
    ValueError
        If `batch_size` is below 1.
    TypeError
        If `cell` is a list of cells.

    Examples
    --------
    A counter goes on counting until it is reset.

    >>> import numpy as np, pytensor, pytensor.tensor as pt
    >>> from symrnn.nn.cells import LinearCell
    >>> from symrnn.nn.recurrent import unroll
    >>> x, cell = pt.tensor3("x"), LinearCell(1, 1, W_x=[[1.0]], W_h=[[1.0]], bias=False)
    >>> carried = CarriedState(cell, batch_size=1)
    >>> outputs, final = unroll(cell, x, carried.state)
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
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, but must be 1 or more")
        self.state = _zeros(cell, "carried_{}", batch_size)

    def updates(self, final: Sequence[TensorVariable]) -> dict[SharedVariable, TensorVariable]:
        """Updates for `pytensor.function` that put the `final` state of a call in place.

        Raises
        ------
        ValueError
            If `final` does not have as many arrays as the state.
        """
        if not isinstance(final, list | tuple):
            raise TypeError("final must be the state that unroll returns, the second of the two")
        if len(final) != len(self.state):
            raise ValueError(f"the state has {len(self.state)} arrays, but {len(final)} are given")
        return dict(zip(self.state, final, strict=True))

    def reset(self, rows: Any = slice(None)) -> None:
        """Set the state to 0: of all sequences, or of those with the indices `rows`."""
        for variable in self.state:
            value = variable.get_value()
            value[rows] = 0
            variable.set_value(value)
