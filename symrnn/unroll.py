"""Unroll a cell over time: the one place where networks call `pytensor.scan`.

`unroll` runs one cell over a sequence, `bidirectional` two in opposite directions, and `stack`
several on top of each other. Where they start: `symrnn.states`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.gradient import disconnected_grad
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn.bptt import recurrence, size, with_ones_of
from symrnn.rows import NotElementwiseError, step_rows

MERGES: dict[str, Callable[[TensorVariable, TensorVariable], TensorVariable]] = {
    "concatenate": lambda a, b: pt.concatenate([a, b], axis=2),
    "sum": lambda a, b: a + b,
    "average": lambda a, b: (a + b) / 2,
}


def unroll(
    cell: Any,
    x: Any,
    initial_state: Sequence[Any] | None = None,
    mask: Any = None,
    reverse: bool = False,
    truncate: int | None = None,
    backward: str = "bptt",
) -> tuple[TensorVariable, Any]:
    """Apply `cell` to each step of `x`, the state of one step going into the next.

    ``state_t = step(x_t W_x + b, h_{t-1} W_h, state_{t-1})`` for ``t = 1 ... time``

    Parameters
    ----------
    cell
        A cell as described in `symrnn.cells`.
    x
        Input, shape ``(time, batch, features)``, at least one step and one sample, a float dtype;
        computed with in the dtype of the weights.
    initial_state
        The state before the first step: a tuple like the cell's own, each array of shape
        ``(batch, n_hidden)``, or ``(n_hidden,)`` for one that all samples share, such as a learnt
        one (`symrnn.states.learnt_state`). Default: ``cell.initial_state(batch)``, zeros.
    mask
        Which steps there are, shape ``(time, batch)``: 1 (or True) for a step, 0 for padding. A
        step that is not there keeps the state, and its output is 0. What `x` holds there, even a
        NaN, has no influence.
    reverse
        Go from the last step to the first. ``outputs[t]`` still belongs to ``x[t]``.
    truncate
        Stop the gradient of the state after each so many steps, counted from the beginning: the
        gradients are those of a sequence cut into pieces of this length (truncated BPTT).
    backward
        How the gradient is computed. ``"bptt"`` is the fast way of `symrnn.bptt`; cells whose step
        is more than elementwise take ``"autodiff"``, the gradient of the scan. Both are the same up
        to rounding.

    Returns
    -------
    outputs : TensorVariable
        h of all steps, shape ``(time, batch, n_hidden)``; ``outputs[t]`` belongs to ``x[t]``, and
        the initial state is not among them.
    state
        The state after the last step (the first one, if reversed), a named tuple of the cell's
        kind, for example ``LSTMState(h, c)``; each of shape ``(batch, n_hidden)``.

    Raises
    ------
    TypeError
        If `cell` is no cell, or `x` not of a float dtype.
    ValueError
        If `x` does not have three axes, the mask not two, the initial state not as many arrays as
        the cell's, or an option is none of those above; when the compiled function is called: if
        the sequence is empty, the sizes do not fit or the mask holds anything but 0 and 1.

    Notes
    -----
    In mode JAX the shape of `x` has to be known: ``pt.tensor("x", shape=(time, batch, features))``.

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
    if backward not in ("bptt", "autodiff"):
        raise ValueError(f"backward is {backward!r}, but must be 'bptt' or 'autodiff'")
    if truncate is not None and (isinstance(truncate, bool) or not truncate >= 1):
        raise ValueError(
            f"truncate is {truncate!r}, but must be None or a number of steps, 1 or more"
        )
    x = _checked_input(cell, x)
    there = None if mask is None else _checked_mask(mask, x)
    if there is not None:
        x = pt.switch(there, x, 0)
    if reverse:
        x, there = x[::-1], None if there is None else there[::-1]
    start = cell.initial_state(x.shape[1])
    if initial_state is not None:
        start = _checked_state(cell, initial_state, start, x)
    renewed = _renewed(cell, x, there, len(start))
    loop = _scan if backward == "autodiff" else _fast_scan
    outputs, final = loop(cell, cell.project(x), start, renewed, truncate)
    if there is not None:
        outputs = pt.switch(there, outputs, 0)
    return outputs[::-1] if reverse else outputs, type(start)(*final)


def _step(
    cell: Any, gates: Sequence[Any], state: Sequence[Any], renewed: Sequence[Any]
) -> list[TensorVariable]:
    """The new state, and where `renewed` says so the old one."""
    new = cell.step(*gates, *state)
    if len(new) != len(state):
        raise ValueError(
            f"{type(cell).__name__}.step returns {len(new)} arrays, but the cell's state has "
            f"{len(state)}"
        )
    new = [n.astype(old.dtype) for n, old in zip(new, state, strict=True)]
    return [
        n if changes is None else pt.switch(changes, n, old)
        for n, old, changes in zip(new, state, renewed, strict=True)
    ]


def _fast_scan(
    cell: Any, zx: TensorVariable, start: Any, renewed: list[Any], truncate: int | None
) -> tuple[TensorVariable, list[TensorVariable]]:
    """The loop with the way back of `symrnn.bptt`, or else the plain one."""
    given = _distinct(renewed)

    def step(gates: Any, state: Any, given_t: Any) -> list[TensorVariable]:
        return _step(cell, gates, state, [_one_of(given, given_t, r) for r in renewed])

    try:
        rows = step_rows(step, cell.n_gates, cell.additive, len(start), len(given), zx.dtype)
    except NotElementwiseError:
        return _scan(cell, zx, start, renewed, truncate)
    return recurrence(rows, zx, _known_shape(cell, zx), start, given, truncate)


def _scan(
    cell: Any, zx: TensorVariable, start: Any, renewed: list[Any], truncate: int | None
) -> tuple[TensorVariable, list[TensorVariable]]:
    """The loop as a plain scan."""
    given = _distinct(renewed)
    W_h = _known_shape(cell, zx)
    n_hidden = size(W_h, 0)
    n_recurrent_gates = getattr(cell, "n_recurrent_gates", cell.n_gates)

    def split(z: TensorVariable, n_gates: int) -> tuple[TensorVariable, ...]:
        if n_gates == 1:
            return (z,)
        return tuple(z[:, k * n_hidden : (k + 1) * n_hidden] for k in range(n_gates))

    def step(zx_t: TensorVariable, *rest: TensorVariable) -> list[TensorVariable]:
        given_t, rest = rest[: len(given)], rest[len(given) :]
        *cut, W_h = rest[: len(cuts)] + rest[-1:]
        state = list(rest[len(cuts) : -1])
        if cut:
            state = [pt.switch(cut[0], disconnected_grad(s), s) for s in state]
        zh_t = state[0] @ W_h
        if cell.additive:
            gates = [split(zx_t + zh_t, cell.n_gates)]
        else:
            gates = [split(zx_t, cell.n_gates), split(zh_t, n_recurrent_gates)]
        new = _step(cell, gates, state, [_one_of(given, given_t, r) for r in renewed])
        return [with_ones_of(old, s) for old, s in zip(state, new, strict=True)]

    steps = pt.arange(zx.shape[0])
    cuts = [] if truncate is None else [pt.eq(steps % truncate, 0) & pt.gt(steps, 0)]
    states = pytensor.scan(
        step,
        sequences=[zx, *given, *cuts],
        outputs_info=list(start),
        non_sequences=[W_h],
        strict=False,  # a cell's own weights, such as peepholes, are found in its step
        return_list=True,
        return_updates=False,
        name=type(cell).__name__,
    )
    return states[0], [s[-1] for s in states]


def bidirectional(
    forward: Any,
    backward_cell: Any,
    x: Any,
    initial_state: tuple[Any, Any] | None = None,
    mask: Any = None,
    merge: str = "concatenate",
    **options: Any,
) -> tuple[TensorVariable, tuple[Any, Any]]:
    """Unroll one cell forwards and one backwards, so that each output knows the whole sequence.

    ``outputs_t = merge(forward_t, backward_t)`` (Schuster and Paliwal, 1997)

    Parameters
    ----------
    forward, backward_cell
        Cells with weights of their own.
    x, mask
        As in `unroll`.
    initial_state
        A pair: the forward cell's initial state, and the backward cell's.
    merge
        ``"concatenate"`` along the features, ``"sum"`` or ``"average"``.
    options
        `truncate` and `backward`, as in `unroll`.

    Returns
    -------
    outputs : TensorVariable
        Shape ``(time, batch, n_hidden)``, or with both cells' hidden sizes added up.
    state
        A pair: the forward cell's state after the last step, and the backward cell's after the
        first.

    Raises
    ------
    TypeError, ValueError
        As in `unroll`; or if there is no such `merge`.
    """
    if merge not in MERGES:
        raise ValueError(f"merge is {merge!r}, but must be one of {[*MERGES]}")
    starts = (None, None) if initial_state is None else initial_state
    ahead, last = unroll(forward, x, starts[0], mask, **options)
    back, first = unroll(backward_cell, x, starts[1], mask, reverse=True, **options)
    return MERGES[merge](ahead, back), (last, first)


def stack(
    cells: Sequence[Any],
    x: Any,
    initial_state: Sequence[Any] | None = None,
    mask: Any = None,
    between: Callable[[TensorVariable], TensorVariable] | None = None,
    residual: bool = False,
    skip: bool = False,
    merge: str = "concatenate",
    **options: Any,
) -> tuple[TensorVariable, list[Any]]:
    """Unroll cells on top of each other: the outputs of one are the input of the next.

    Parameters
    ----------
    cells
        From the bottom up. A pair of cells is a bidirectional layer.
    x, mask
        As in `unroll`.
    initial_state
        A list with the initial state of each layer, as `unroll` or `bidirectional` takes it.
    between
        Applied to the outputs of each layer but the last, for example dropout.
    residual
        Add a layer's input to its outputs, where both are equally wide (He et al., 2016).
    skip
        Give every layer but the first the input `x` too, beside the outputs of the layer below
        (Graves, 2013): its ``n_in`` is the sum of both widths.
    merge
        How bidirectional layers merge, as in `bidirectional`.
    options
        `truncate` and `backward`, and for cells that are not pairs `reverse`, as in `unroll`.

    Returns
    -------
    outputs : TensorVariable
        Those of the last layer.
    states
        A list with the final state of each layer.

    Raises
    ------
    TypeError, ValueError
        As in `unroll`; or if `cells` is empty or there are not as many initial states.
    """
    cells = list(cells)
    if not cells:
        raise ValueError("stack needs at least one cell")
    if initial_state is not None and len(initial_state) != len(cells):
        raise ValueError(f"{len(cells)} layers got {len(initial_state)} initial states")
    states = []
    bottom = layer_input = x
    for k, cell in enumerate(cells):
        start = None if initial_state is None else initial_state[k]
        if k and between is not None:
            layer_input = between(layer_input)
        below = layer_input
        if k and skip:
            layer_input = pt.concatenate([layer_input, bottom], axis=2)
        if isinstance(cell, tuple | list):
            ahead, back = cell
            outputs, state = bidirectional(ahead, back, layer_input, start, mask, merge, **options)
        else:
            outputs, state = unroll(cell, layer_input, start, mask, **options)
        if residual and _width(cells, k, merge) == (
            _first(cell).n_in if k == 0 else _width(cells, k - 1, merge)
        ):
            outputs = outputs + below
        states.append(state)
        layer_input = outputs
    return layer_input, states


def _first(cell: Any) -> Any:
    return cell[0] if isinstance(cell, tuple | list) else cell


def _width(cells: Sequence[Any], k: int, merge: str) -> int:
    """Number of features of layer k's outputs."""
    cell = cells[k]
    if isinstance(cell, tuple | list) and merge == "concatenate":
        return sum(c.n_hidden for c in cell)
    return int(_first(cell).n_hidden)


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
    known, n_in = x.type.shape, getattr(cell, "n_in", None)
    if 0 in known or (None not in (known[2], n_in) and known[2] != n_in):
        raise ValueError(
            f"x has shape {known}, but must have at least one step in time and one sample, and "
            f"{n_in} features, as many as the cell has inputs"
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


def _checked_mask(mask: Any, x: TensorVariable) -> TensorVariable:
    """The mask as truth values of shape ``(time, batch, 1)``."""
    mask = pt.as_tensor_variable(mask)
    if mask.ndim != 2:
        raise ValueError(f"the mask has {mask.ndim} axes, but must have two, (time, batch)")
    if mask.dtype.startswith("complex"):
        raise TypeError(f"the mask has dtype {mask.dtype}, but must hold 0 and 1 or truth values")
    mask = CheckAndRaise(ValueError, "the mask's shape is not (time, batch), that of x")(
        mask, pt.eq(mask.shape[0], x.shape[0]), pt.eq(mask.shape[1], x.shape[1])
    )
    if mask.dtype != "bool":
        mask = CheckAndRaise(ValueError, "the mask holds something else than 0 and 1")(
            mask, pt.all(pt.eq(mask, 0) | pt.eq(mask, 1))
        )
    return pt.neq(mask, 0).reshape((x.shape[0], x.shape[1], 1))


def _checked_state(cell: Any, given: Sequence[Any], wanted: Any, x: TensorVariable) -> Any:
    """The given initial state as the cell's kind of tuple."""
    if isinstance(given, TensorVariable) or len(given) != len(wanted):
        raise ValueError(
            f"the initial state must be a tuple like {type(wanted).__name__}"
            f"({', '.join(wanted._fields)}), each (batch, n_hidden); a single array h is (h,)"
        )
    batch_size, n_hidden = x.shape[1], cell.W_h.shape[0]
    right_shape = CheckAndRaise(
        ValueError,
        "an initial state's shape is not (batch, n_hidden), with the batch size of x, "
        "or (n_hidden,)",
    )
    arrays = []
    for name, value in zip(wanted._fields, given, strict=True):
        array = pt.as_tensor_variable(value).astype(cell.W_h.dtype)
        if array.ndim == 1:
            array = right_shape(array, pt.eq(array.shape[0], n_hidden))
            array = pt.broadcast_to(array, (batch_size, n_hidden))
        elif array.ndim == 2:
            fits = [pt.eq(array.shape[0], batch_size), pt.eq(array.shape[1], n_hidden)]
            array = right_shape(array, *fits)
        else:
            raise ValueError(
                f"the initial state {name} has {array.ndim} axes, but must have two, "
                "(batch, n_hidden), or one, (n_hidden,)"
            )
        arrays.append(array)
    return type(wanted)(*arrays)


def _renewed(
    cell: Any, x: TensorVariable, there: TensorVariable | None, n_states: int
) -> list[TensorVariable | None]:
    """For each array of the state, which entries a step may change, or None for all of them."""
    time, batch, _ = x.shape
    shape = (time, batch, cell.W_h.shape[0])
    renewed = cell.renewed(shape) if hasattr(cell, "renewed") else [None] * n_states
    if there is not None:
        renewed = [there if r is None else there & r for r in renewed]
    return list(renewed)


def _known_shape(cell: Any, zx: TensorVariable) -> TensorVariable:
    """W_h, with its shape told if that of the input is known: mode JAX needs to know them all."""
    if None in zx.type.shape[:2] or not isinstance(cell.W_h, SharedVariable):
        return cell.W_h
    return pt.specify_shape(cell.W_h, cell.W_h.get_value(borrow=True).shape)


def _distinct(renewed: Sequence[Any]) -> list[TensorVariable]:
    return list(dict.fromkeys(r for r in renewed if r is not None))


def _one_of(series: Sequence[Any], at_t: Sequence[Any], one: Any) -> Any:
    """What `one` of the series is at this step; None stays None."""
    return None if one is None else at_t[series.index(one)]
