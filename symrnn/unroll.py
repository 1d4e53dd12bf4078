"""Unroll a cell over time: the one place where networks call `pytensor.scan`."""

from collections.abc import Sequence
from typing import Any

import pytensor
import pytensor.tensor as pt
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable


def unroll(
    cell: Any, x: Any, initial_state: Sequence[Any] | None = None
) -> tuple[TensorVariable, Any]:
    """Apply `cell` to each step of `x`, the state of one step going into the next.

    ``state_t = step(x_t W_x + b + h_{t-1} W_h, state_{t-1})`` for ``t = 1 ... time``

    Parameters
    ----------
    cell
        A cell as described in `symrnn.cells`.
    x
        Input, shape ``(time, batch, features)``, at least one step and one sample, a float dtype;
        computed with in the dtype of the weights.
    initial_state
        The state before the first step: a tuple like the cell's own, each array of shape
        ``(batch, n_hidden)``. Default: ``cell.initial_state(batch)``.

    Returns
    -------
    outputs : TensorVariable
        h of all steps, shape ``(time, batch, n_hidden)``; ``outputs[t]`` belongs to ``x[t]``, and
        the initial state is not among them.
    state
        The state after the last step, a named tuple of the cell's kind, for example
        ``LinearState(h)``; each of shape ``(batch, n_hidden)``.

    Raises
    ------
    TypeError
        If `cell` is no cell, or `x` not of a float dtype.
    ValueError
        If `x` does not have three axes, or the initial state not as many arrays as the cell's;
        when the compiled function is called: if the sequence is empty or the sizes do not fit.

    Examples
    --------
    Count the ones in two sequences of three bits.

    >>> import numpy as np, pytensor, pytensor.tensor as pt
    >>> from symrnn.cells import LinearCell
    >>> x = pt.tensor3("x")
    >>> outputs, state = unroll(LinearCell(1, 1, W_x=[[1.0]], W_h=[[1.0]], bias=False), x)
    >>> count = pytensor.function([x], [outputs[:, :, 0], state.h[:, 0]], mode="FAST_COMPILE")
    >>> bits = np.array([[1, 0], [1, 1], [0, 1]], dtype=x.dtype)  # (time, batch)
    >>> so_far, total = count(bits[:, :, None])
    >>> so_far.astype(int)
    array([[1, 0],
           [2, 1],
           [2, 2]])
    >>> total.astype(int)
    array([2, 2])
    """
    x = _checked_input(cell, x)
    batch_size = x.shape[1]
    start = cell.initial_state(batch_size)
    if initial_state is not None:
        start = _checked_state(cell, initial_state, start, batch_size)
    n_hidden = cell.W_h.shape[0]

    def step(zx_t: TensorVariable, *state_and_weight: TensorVariable) -> list[TensorVariable]:
        *state, W_h = state_and_weight
        z = zx_t + state[0] @ W_h
        gates = tuple(z[:, k * n_hidden : (k + 1) * n_hidden] for k in range(cell.n_gates))
        new_state = cell.step(gates if cell.n_gates > 1 else (z,), *state)
        return [_with_ones_of(old, new) for old, new in zip(state, new_state, strict=True)]

    states = pytensor.scan(
        step,
        sequences=[cell.project(x)],
        outputs_info=list(start),
        non_sequences=[cell.W_h],
        strict=True,
        return_list=True,
        return_updates=False,
        name=type(cell).__name__,
    )
    return states[0], type(start)(*(s[-1] for s in states))


def _checked_input(cell: Any, x: Any) -> TensorVariable:
    if not hasattr(cell, "step"):
        raise TypeError(f"{cell!r} is no cell, it has no step: write unroll(cell, x)")
    x = pt.as_tensor_variable(x)
    if x.ndim != 3:
        raise ValueError(
            f"x has {x.ndim} axes, but must have three, (time, batch, features): "
            "one number a step is x[:, :, None]"
        )
    if not x.dtype.startswith("float"):
        raise TypeError(
            f"x has dtype {x.dtype}, and a recurrent layer multiplies it with floats: "
            "make it float, for example x.astype(pytensor.config.floatX); "
            "numbers of words go through an embedding first"
        )
    return CheckAndRaise(
        ValueError,
        "x must have shape (time, batch, features) with at least one step in time and one sample, "
        "and as many features as the cell has inputs (rows of W_x)",
    )(
        x.astype(cell.W_x.dtype),
        pt.gt(x.shape[0], 0),
        pt.gt(x.shape[1], 0),
        pt.eq(x.shape[2], cell.W_x.shape[0]),
    )


def _checked_state(cell: Any, given: Sequence[Any], wanted: Any, batch_size: Any) -> Any:
    """The given initial state as the cell's kind of tuple."""
    if isinstance(given, TensorVariable) or len(given) != len(wanted):
        raise ValueError(
            f"the initial state must be a tuple like {type(wanted).__name__}"
            f"({', '.join(wanted._fields)}), each (batch, n_hidden); a single array h is (h,)"
        )
    right_shape = CheckAndRaise(
        ValueError,
        "an initial state's shape is not (batch, n_hidden), with the batch size of x",
    )
    arrays = []
    for name, value in zip(wanted._fields, given, strict=True):
        array = pt.as_tensor_variable(value)
        if array.ndim != 2:
            raise ValueError(
                f"the initial state {name} has {array.ndim} axes, but must have two, "
                "(batch, n_hidden)"
            )
        array = array.astype(cell.W_h.dtype)
        arrays.append(
            right_shape(
                array, pt.eq(array.shape[0], batch_size), pt.eq(array.shape[1], cell.W_h.shape[0])
            )
        )
    return type(wanted)(*arrays)


def _with_ones_of(old: TensorVariable, new: TensorVariable) -> TensorVariable:
    """Tell `new` which sizes are known to be 1: scan wants the types of both states to be equal."""
    ones = [axis for axis, size in enumerate(old.type.shape) if size == 1]
    return pt.specify_broadcastable(new, *ones) if ones else new
