"""Unroll a cell over time: `unroll` one cell, `bidirectional` two, `stack` several in layers.

Masking, reversing, truncation and the fast loop are written here once, for all cells, also yours.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.gradient import disconnected_grad
from pytensor.graph.traversal import graph_inputs
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_choice, check_whole
from symrnn.compiling.shapes import axis_length, keep_broadcastable
from symrnn.kernels.recurrence import recurrence
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
    *,
    initial_state: Sequence[Any] | None = None,
    mask: Any = None,
    reverse: bool = False,
    truncate_every: int | None = None,
    implementation: str = "kernel",
) -> tuple[TensorVariable, Any]:
    """Run `cell` over the time steps of `x`, passing the state from each step to the next.

    ``state_t = step(x_t W_x + b, h_{t-1} W_h, state_{t-1})`` for ``t = 1 ... time``

    Parameters
    ----------
    cell
        Such as `symrnn.LSTMCell`, or one of your own: a subclass of `symrnn.Cell`.
    x
        Input, shape ``(time, batch, features)``, at least one step and one sample, a float dtype;
        it is cast to the dtype of the weights.
    initial_state
        The state before the first step: a tuple like the cell's own, each array of shape
        ``(batch, n_hidden)``, or ``(n_hidden,)`` for one that all samples share, such as a learned
        one (`symrnn.learned_initial_state`). Default: zeros.
    mask
        Which steps are valid, shape ``(time, batch)``: 1 (or True) for a step, 0 for padding; from
        lengths: ``np.arange(time)[:, None] < lengths``. At a masked step the previous state is
        kept and the output is 0. What `x` holds there, even
        NaN, has no influence.
    reverse
        Go from the last step to the first. ``outputs[t]`` still belongs to ``x[t]``.
    truncate_every
        Stop the gradient of the state after every so many steps, counted from where the cell starts
        (the end of `x`, if reversed): the gradients are those of a sequence cut into segments of
        this length (truncated BPTT). Second derivatives need ``implementation="scan"`` then.
    implementation
        ``"kernel"`` is a loop with a custom backward pass, made for speed; cells whose step is not
        elementwise always take ``"scan"``, the plain scan and its own gradient. Both give the same
        results up to rounding.

    Returns
    -------
    outputs : TensorVariable
        Hidden states h at all steps, shape ``(time, batch, n_hidden)``; ``outputs[t]`` belongs to
        ``x[t]``, and the initial state is not among them.
    state
        The state after the last step (the first one, if reversed), a named tuple of the cell's
        kind, for example ``LSTMState(h, c)``; each of shape ``(batch, n_hidden)``.

    Raises
    ------
    TypeError, ValueError
        While the graph is built, for what is known then. What is only known when the compiled
        function is called, the shapes of arrays and that a mask holds 0 and 1, is a ValueError at
        the call (but not in mode JAX).

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
    check_choice("implementation", implementation, ("kernel", "scan"))
    if truncate_every is not None:
        check_whole("truncate_every", truncate_every)
    x = checked_sequence(cell, x)
    valid = None if mask is None else checked_mask(mask, x)
    if valid is not None:
        x = pt.switch(valid, x, 0)
    if reverse:
        x, valid = x[::-1], None if valid is None else valid[::-1]
    valid = _named("valid", valid)
    start = cell.initial_state(x.shape[1])
    if initial_state is not None:
        start = checked_state(cell, initial_state, start, x)
    update_masks = _update_masks(cell, x, valid)
    one_step = x.type.shape[0] == 1  # known when the graph is built: there is nothing to loop over
    loop = _scan if implementation == "scan" or one_step else _kernel
    outputs, final = loop(cell, cell.project(x), start, update_masks, truncate_every)
    if valid is not None:
        outputs = pt.switch(valid, outputs, 0)
    return outputs[::-1] if reverse else outputs, type(start)(*final)


def _step(
    cell: Any, gates: Sequence[Any], state: Sequence[Any], update_masks: Sequence[Any]
) -> list[TensorVariable]:
    """The new state, and where an update mask is 0 the old one."""
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
        for n, old, changes in zip(new, state, update_masks, strict=True)
    ]


def _kernel(
    cell: Any, zx: TensorVariable, start: Any, update_masks: list[Any], truncate_every: int | None
) -> tuple[TensorVariable, list[TensorVariable]]:
    """The loop with a custom backward pass, or the plain scan if the step is not elementwise."""
    if not cell.elementwise:
        return _scan(cell, zx, start, update_masks, truncate_every)
    given = _distinct(update_masks)

    def step(gates: Any, state: Any, given_t: Any) -> list[TensorVariable]:
        return _step(cell, gates, state, [_one_of(given, given_t, r) for r in update_masks])

    n_gates = [cell.n_gates] if cell.additive else [cell.n_gates, cell.n_recurrent_gates]
    try:
        rows = step_rows(step, n_gates, len(start), len(given), zx.dtype)
        _warn_of_forgotten_weights(cell, rows.captured_values)
    except NotElementwiseError as error:
        warnings.warn(
            f"{type(cell).__name__}.step is more than elementwise ({error}), so its gradient is "
            "the scan's own, which is slower: if this is intended, write elementwise = False in "
            "the class",
            stacklevel=3,
        )
        return _scan(cell, zx, start, update_masks, truncate_every)

    def plain(zx: Any, W_h: Any, start_: Sequence[Any], given_: Sequence[Any]) -> Any:
        all_masks = [_one_of(given, given_, r) for r in update_masks]
        return _scan(cell, zx, type(start)(*start_), all_masks, truncate_every, W_h)

    return recurrence(rows, zx, _known_shape(cell, zx), start, given, truncate_every, plain)


def _warn_of_forgotten_weights(cell: Any, used: Sequence[TensorVariable]) -> None:
    for v in graph_inputs(used):
        if isinstance(v, SharedVariable) and v not in cell.params:
            floats = str(v.type.dtype).startswith("float")
            remedy = (
                "make it an attribute of the cell"
                if floats
                else f"it has dtype {v.type.dtype}, and only floats are trained, such as "
                "symrnn.parameter makes"
            )
            warnings.warn(
                f"{type(cell).__name__}.step uses {v}, which is not among the cell's params and "
                f"will not be trained: {remedy}; or use a NumPy array if it is not to be trained",
                stacklevel=4,
            )


def _scan(
    cell: Any,
    zx: TensorVariable,
    start: Any,
    update_masks: list[Any],
    truncate_every: int | None,
    W_h: TensorVariable | None = None,
) -> tuple[TensorVariable, list[TensorVariable]]:
    """The loop as a plain scan."""
    given = _distinct(update_masks)
    W_h = _known_shape(cell, zx) if W_h is None else W_h
    n_hidden = _named("n_hidden", axis_length(W_h, 0))

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
        new = _step(cell, gates, state, [_one_of(given, given_t, r) for r in update_masks])
        new = [_named(field, s) for field, s in zip(start._fields, new, strict=True)]
        return [keep_broadcastable(old, s) for old, s in zip(state, new, strict=True)]

    steps = pt.arange(zx.shape[0])
    cuts = []
    if truncate_every is not None:
        cuts = [_named("cut", pt.eq(steps % truncate_every, 0) & pt.gt(steps, 0))]
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
    backward: Any,
    x: Any,
    *,
    initial_state: tuple[Any, Any] | None = None,
    mask: Any = None,
    merge: str = "concatenate",
    truncate_every: int | None = None,
    implementation: str = "kernel",
) -> tuple[TensorVariable, tuple[Any, Any]]:
    """Unroll one cell forwards and one backwards, so that each output knows the whole sequence.

    ``outputs_t = merge(forward_t, backward_t)`` (Schuster and Paliwal, 1997)

    Parameters
    ----------
    forward, backward
        Two cells, each with its own weights.
    x
        Input, shape ``(time, batch, features)``.
    initial_state
        A pair: the forward cell's initial state, and the backward cell's. Default: zeros.
    mask
        Which steps are valid, shape ``(time, batch)``: 1 (or True), and 0 for padding, which keeps
        the state and has the output 0.
    merge
        ``"concatenate"`` along the features, ``"sum"`` or ``"average"``.
    truncate_every, implementation
        Where the gradient stops, and how the loop is computed; see `unroll`.

    Returns
    -------
    outputs : TensorVariable
        Shape ``(time, batch, n_hidden)``, or with both cells' hidden sizes added up.
    state
        A pair: the forward cell's state after the last step, and the backward cell's after the
        first.

    Examples
    --------
    >>> import numpy as np
    >>> from symrnn.nn.cells import GRUCell
    >>> rng, x = np.random.default_rng(1), pt.tensor3("x")
    >>> outputs, (last, first) = bidirectional(GRUCell(1, 4, rng=rng), GRUCell(1, 4, rng=rng), x)
    >>> outputs.eval({x: np.ones((5, 2, 1), x.dtype)}, mode="FAST_COMPILE").shape
    (5, 2, 8)
    """
    check_choice("merge", merge, MERGES)
    if merge != "concatenate" and forward.n_hidden != backward.n_hidden:
        raise ValueError(
            f"merge={merge!r} needs cells of one size, not of {forward.n_hidden} and "
            f"{backward.n_hidden} units: merge='concatenate' takes any"
        )
    starts = (None, None) if initial_state is None else initial_state
    ends = [
        unroll(
            cell, x, initial_state=start, mask=mask, reverse=reverse,
            truncate_every=truncate_every, implementation=implementation,
        )
        for cell, start, reverse in zip((forward, backward), starts, (False, True), strict=True)
    ]  # fmt: skip
    (h_forward, last), (h_backward, first) = ends
    return MERGES[merge](h_forward, h_backward), (last, first)


def stack(
    cells: Sequence[Any],
    x: Any,
    *,
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
    x
        Input, shape ``(time, batch, features)``.
    initial_state
        A list with the initial state of each layer, a pair for a bidirectional one. Default: zeros.
    mask
        Which steps are valid, shape ``(time, batch)``: 1 (or True), and 0 for padding, which keeps
        the states and has the output 0.
    between
        Applied to the outputs of each layer but the last, for example dropout:
        ``lambda outputs: dropout(outputs, training=True)``.
    residual
        Add a layer's input to its outputs, where both are equally wide (He et al., 2016).
    skip
        Give every layer but the first the input `x` too, beside the outputs of the layer below
        (Graves, 2013): its ``n_in`` is the sum of both widths.
    merge
        How bidirectional layers merge: ``"concatenate"``, ``"sum"`` or ``"average"``.
    options
        `truncate_every` and `implementation`, and for cells that are not pairs `reverse`; see
        `unroll`.

    Returns
    -------
    outputs : TensorVariable
        Those of the last layer.
    states
        A list with the final state of each layer.

    Examples
    --------
    Two layers, the second bidirectional.

    >>> import numpy as np
    >>> from symrnn.nn.cells import GRUCell, LSTMCell
    >>> rng, x = np.random.default_rng(1), pt.tensor3("x")
    >>> cells = [LSTMCell(1, 4, rng=rng), (GRUCell(4, 3, rng=rng), GRUCell(4, 3, rng=rng))]
    >>> outputs, states = stack(cells, x)
    >>> outputs.eval({x: np.ones((5, 2, 1), x.dtype)}, mode="FAST_COMPILE").shape
    (5, 2, 6)
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
            if options.pop("reverse", False):
                raise TypeError(f"layer {k} goes both ways, it takes no reverse")
            forward, backward = cell
            outputs, state = bidirectional(
                forward, backward, layer_input,
                initial_state=start, mask=mask, merge=merge, **options,
            )  # fmt: skip
        else:
            outputs, state = unroll(cell, layer_input, initial_state=start, mask=mask, **options)
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


def _update_masks(
    cell: Any, x: TensorVariable, valid: TensorVariable | None
) -> list[TensorVariable | None]:
    """For each array of the state, which entries a step may change, or None for all of them."""
    time, batch, _ = x.shape
    shape = (time, batch, cell.W_h.shape[0])
    update_masks = cell.update_mask(shape)
    if valid is not None:
        update_masks = [valid if r is None else valid & r for r in update_masks]
    return list(update_masks)


def _known_shape(cell: Any, zx: TensorVariable) -> TensorVariable:
    """W_h, with a static shape if that of the input is static: mode JAX needs all of them."""
    if None in zx.type.shape[:2] or not isinstance(cell.W_h, SharedVariable):
        return cell.W_h
    return pt.specify_shape(cell.W_h, cell.W_h.get_value(borrow=True).shape)


def _named(name: str, v: Any) -> Any:
    """Name a variable that has no name, for those who read the graph."""
    if isinstance(v, TensorVariable) and v.name is None:
        v.name = name
    return v


def _distinct(update_masks: Sequence[Any]) -> list[TensorVariable]:
    return list(dict.fromkeys(r for r in update_masks if r is not None))


def _one_of(series: Sequence[Any], at_t: Sequence[Any], one: Any) -> Any:
    """The element of `one` of the series at this step; None stays None."""
    return None if one is None else at_t[series.index(one)]
