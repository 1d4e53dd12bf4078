"""Unroll a cell over time: with `symrnn.kernels.recurrence` the one place where networks call `pytensor.scan`.

`unroll` runs one cell over a sequence, `bidirectional` two in opposite directions, and `stack`
several on top of each other. Where they start: `symrnn.nn.states`.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.gradient import disconnected_grad
from pytensor.graph.traversal import graph_inputs
from pytensor.tensor.variable import TensorVariable

from symrnn.kernels.recurrence import recurrence, size, with_ones_of
from symrnn.kernels.step_rows import NotElementwiseError, step_rows
from symrnn.nn.inputs import checked_mask, checked_sequence, checked_state, float_variable

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
        A cell as described in `symrnn.nn.cells`.
    x
        Input, shape ``(time, batch, features)``, at least one step and one sample, a float dtype;
        computed with in the dtype of the weights.
    initial_state
        The state before the first step: a tuple like the cell's own, each array of shape
        ``(batch, n_hidden)``, or ``(n_hidden,)`` for one that all samples share, such as a learnt
        one (`symrnn.nn.states.learnt_state`). Default: ``cell.initial_state(batch)``, zeros.
    mask
        Which steps there are, shape ``(time, batch)``: 1 (or True) for a step, 0 for padding. A
        step that is not there keeps the state, and its output is 0. What `x` holds there, even a
        NaN, has no influence.
    reverse
        Go from the last step to the first. ``outputs[t]`` still belongs to ``x[t]``.
    truncate
        Stop the gradient of the state after each so many steps, counted from where the cell starts
        (the end of `x`, if reversed): the gradients are those of a sequence cut into pieces of this
        length (truncated BPTT). Second derivatives need ``backward="autodiff"`` then.
    backward
        How the gradient is computed. ``"bptt"`` is the fast way of `symrnn.kernels.recurrence`; cells whose step
        is more than elementwise, and say so, take ``"autodiff"``, the gradient of the scan. Both
        are the same up to rounding.

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
        If `cell` is no cell, `x` not of a float dtype, the mask complex, the initial state no
        tuple, or what the cell's step returns no tuple.
    ValueError
        If `x`, the mask or the initial state has another shape, the step returns something else
        than a state, or an option is none of those above. Where sizes are not known when the graph
        is built: when the compiled function is called (but not in mode JAX). So too if the mask
        holds anything but 0 and 1.

    Notes
    -----
    In mode JAX the shape of `x` has to be known: ``pt.tensor("x", shape=(time, batch, features))``.

    Examples
    --------
    Count the ones in two sequences of three bits.

    >>> import numpy as np, pytensor, pytensor.tensor as pt
    >>> from symrnn.nn.cells import LinearCell
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
    if truncate is not None and (not isinstance(truncate, int | np.integer) or truncate < 1):
        raise ValueError(
            f"truncate is {truncate!r}, but must be None or a number of steps, 1 or more"
        )
    x = checked_sequence(cell, x)
    there = None if mask is None else checked_mask(mask, x)
    if there is not None:
        x = pt.switch(there, x, 0)
    if reverse:
        x, there = x[::-1], None if there is None else there[::-1]
    there = _named("there", there)
    start = cell.initial_state(x.shape[1])
    if initial_state is not None:
        start = checked_state(cell, initial_state, start, x)
    renewed = _renewed(cell, x, there)
    one_step = x.type.shape[0] == 1  # known when the graph is built: there is nothing to loop over
    loop = _scan if backward == "autodiff" or one_step else _fast_scan
    outputs, final = loop(cell, cell.project(x), start, renewed, truncate)
    if there is not None:
        outputs = pt.switch(there, outputs, 0)
    return outputs[::-1] if reverse else outputs, type(start)(*final)


def _step(
    cell: Any, gates: Sequence[Any], state: Sequence[Any], renewed: Sequence[Any]
) -> list[TensorVariable]:
    """The new state, and where `renewed` says so the old one."""
    new = cell.step(*gates, *state)
    name = type(cell).__name__
    if not isinstance(new, tuple | list):
        raise TypeError(
            f"{name}.step returns {type(new).__name__}, but must return the cell's kind of state, "
            "for example HiddenState(h)"
        )
    if len(new) != len(state):
        raise ValueError(
            f"{name}.step returns {len(new)} arrays, but the cell's state has {len(state)}"
        )
    new = [pt.as_tensor_variable(n).astype(old.dtype) for n, old in zip(new, state, strict=True)]
    for n in new:
        if n.ndim != 2:
            usual = (
                "z is a tuple with an array for each gate, z[0], z[1] and so on"
                if n.ndim > 2
                else "a sum or a mean keeps its axis with keepdims=True"
            )
            raise ValueError(
                f"{name}.step returns an array with {n.ndim} axes in place of (batch, n_hidden): "
                f"{usual}"
            )
    return [
        n if changes is None else pt.switch(changes, n, old)
        for n, old, changes in zip(new, state, renewed, strict=True)
    ]


def _fast_scan(
    cell: Any, zx: TensorVariable, start: Any, renewed: list[Any], truncate: int | None
) -> tuple[TensorVariable, list[TensorVariable]]:
    """The loop with the way back of `symrnn.kernels.recurrence`, or else the plain one."""
    if not cell.elementwise:
        return _scan(cell, zx, start, renewed, truncate)
    given = _distinct(renewed)

    def step(gates: Any, state: Any, given_t: Any) -> list[TensorVariable]:
        return _step(cell, gates, state, [_one_of(given, given_t, r) for r in renewed])

    n_gates = [cell.n_gates] if cell.additive else [cell.n_gates, cell.n_recurrent_gates]
    try:
        rows = step_rows(step, n_gates, len(start), len(given), zx.dtype)
        _warn_of_forgotten_weights(cell, rows.captured_values)
    except NotElementwiseError as error:
        warnings.warn(
            f"{type(cell).__name__}.step is more than elementwise ({error}), so its gradient is "
            "that of a plain scan, which is slower: write elementwise = False in the class if that "
            "is meant to be",
            stacklevel=3,
        )
        return _scan(cell, zx, start, renewed, truncate)

    def plain(zx: Any, W_h: Any, start_: Sequence[Any], given_: Sequence[Any]) -> Any:
        all_renewed = [_one_of(given, given_, r) for r in renewed]
        return _scan(cell, zx, type(start)(*start_), all_renewed, truncate, W_h)

    return recurrence(rows, zx, _known_shape(cell, zx), start, given, truncate, plain)


def _warn_of_forgotten_weights(cell: Any, used: Sequence[TensorVariable]) -> None:
    for v in graph_inputs(used):
        if isinstance(v, SharedVariable) and v not in cell.params:
            warnings.warn(
                f"{type(cell).__name__}.step uses {v}, which is not among the cell's params and "
                "will not be trained: make it with self.parameter(...); if that is meant to be, "
                "use a NumPy array",
                stacklevel=5,
            )


def _scan(
    cell: Any,
    zx: TensorVariable,
    start: Any,
    renewed: list[Any],
    truncate: int | None,
    W_h: TensorVariable | None = None,
) -> tuple[TensorVariable, list[TensorVariable]]:
    """The loop as a plain scan."""
    given = _distinct(renewed)
    W_h = _known_shape(cell, zx) if W_h is None else W_h
    n_hidden = _named("n_hidden", size(W_h, 0))

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
            gates = [split(_named("z", zx_t + zh_t), cell.n_gates)]
        else:
            gates = [split(zx_t, cell.n_gates), split(zh_t, cell.n_recurrent_gates)]
        new = _step(cell, gates, state, [_one_of(given, given_t, r) for r in renewed])
        new = [_named(field, s) for field, s in zip(start._fields, new, strict=True)]
        return [with_ones_of(old, s) for old, s in zip(state, new, strict=True)]

    steps = pt.arange(zx.shape[0])
    cuts = []
    if truncate is not None:
        cuts = [_named("cut", pt.eq(steps % truncate, 0) & pt.gt(steps, 0))]
    states = pytensor.scan(
        step,
        sequences=[_named("zx", zx), *given, *cuts],
        outputs_info=list(start),
        non_sequences=[W_h],
        n_steps=1 if zx.type.shape[0] == 1 else None,  # for one step it makes no loop
        strict=False,  # a cell's own weights, such as peepholes, are found in its step
        return_list=True,
        return_updates=False,
        name=type(cell).__name__,
    )
    states = [_named(field, s) for field, s in zip(start._fields, states, strict=True)]
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
    if "reverse" in options:
        raise TypeError("bidirectional goes both ways, it takes no reverse")
    if merge != "concatenate" and forward.n_hidden != backward_cell.n_hidden:
        raise ValueError(
            f"merge={merge!r} needs cells of one size, not of {forward.n_hidden} and "
            f"{backward_cell.n_hidden} units: merge='concatenate' takes any"
        )
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
        Applied to the outputs of each layer but the last, for example dropout:
        ``lambda outputs: dropout(outputs, training=True)``.
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
    if not isinstance(cells, tuple | list):
        raise TypeError(f"stack needs a list of cells, not {type(cells).__name__}: write [cell]")
    if not cells:
        raise ValueError("stack needs at least one cell")
    if initial_state is not None and len(initial_state) != len(cells):
        raise ValueError(f"{len(cells)} layers got {len(initial_state)} initial states")
    states = []
    bottom = layer_input = float_variable(x)
    for k, cell in enumerate(cells):
        start = None if initial_state is None else initial_state[k]
        if k and between is not None:
            layer_input = between(layer_input)
        below = layer_input
        if k and skip:
            layer_input = pt.concatenate([layer_input, bottom], axis=2)
        elif k and between is None and _first(cell).n_in != _width(cells, k - 1, merge):
            raise ValueError(
                f"layer {k} is made for {_first(cell).n_in} inputs, but the layer below it has "
                f"{_width(cells, k - 1, merge)} outputs"
            )
        if isinstance(cell, tuple | list):
            if len(cell) != 2:
                raise ValueError(f"layer {k} has {len(cell)} cells: one, or a pair, is a layer")
            ahead, back = cell
            outputs, state = bidirectional(ahead, back, layer_input, start, mask, merge, **options)
        else:
            outputs, state = unroll(cell, layer_input, start, mask, **options)
        if residual and _width(cells, k, merge) == (
            _first(cell).n_in if k == 0 else _width(cells, k - 1, merge)
        ):
            if mask is not None:  # as the outputs, it is 0 where there is only padding
                below = pt.switch(checked_mask(mask, outputs), below, 0)
            outputs = outputs + below.astype(outputs.dtype)
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


def _renewed(
    cell: Any, x: TensorVariable, there: TensorVariable | None
) -> list[TensorVariable | None]:
    """For each array of the state, which entries a step may change, or None for all of them."""
    time, batch, _ = x.shape
    shape = (time, batch, cell.W_h.shape[0])
    renewed = cell.renewed(shape)
    if there is not None:
        renewed = [there if r is None else there & r for r in renewed]
    return list(renewed)


def _known_shape(cell: Any, zx: TensorVariable) -> TensorVariable:
    """W_h, with its shape told if that of the input is known: mode JAX needs to know them all."""
    if None in zx.type.shape[:2] or not isinstance(cell.W_h, SharedVariable):
        return cell.W_h
    return pt.specify_shape(cell.W_h, cell.W_h.get_value(borrow=True).shape)


def _named(name: str, v: Any) -> Any:
    """Call a variable so, if it has no name: for those who read the graph."""
    if isinstance(v, TensorVariable) and v.name is None:
        v.name = name
    return v


def _distinct(renewed: Sequence[Any]) -> list[TensorVariable]:
    return list(dict.fromkeys(r for r in renewed if r is not None))


def _one_of(series: Sequence[Any], at_t: Sequence[Any], one: Any) -> Any:
    """What `one` of the series is at this step; None stays None."""
    return None if one is None else at_t[series.index(one)]
