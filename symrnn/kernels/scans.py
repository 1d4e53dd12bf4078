"""A recurrent layer's loop and its backward pass as ordinary scans.

They compute what the kernels of `symrnn.kernels.loop` compute. They are for mode JAX, which has no
kernels, for cells with an operation that kernels do not know, and for second derivatives:
`pytensor.grad` can differentiate any scan.

Of the arrays ``(batch, n_hidden)`` of a step, `symrnn.kernels.step_rows` makes rows of
``batch * n_hidden`` numbers.
"""

from collections.abc import Sequence
from typing import Any

import pytensor
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType
from pytensor.graph.replace import graph_replace
from pytensor.tensor.variable import TensorVariable

from symrnn.compiling.shapes import axis_length, keep_broadcastable
from symrnn.kernels.loop import step_back
from symrnn.kernels.step_rows import StepRows


def split_inputs(rows: StepRows, inputs: Sequence[Any]) -> tuple[Any, ...]:
    """Return zx, W_h, start, captured, update_masks."""
    zx, W_h, *rest = inputs
    n, m = len(rows.states), len(rows.states) + len(rows.captured)
    return zx, W_h, rest[:n], rest[n:m], rest[m:]


def forward_scan(rows: StepRows, inputs: Sequence[TensorVariable]) -> list[TensorVariable]:
    """Return the states of all steps, the final states, and the saved values.

    Shapes: ``(time, batch, n_hidden)``, ``(batch, n_hidden)``, and
    ``(time, batch, n_saved * n_hidden)``.
    """
    zx, W_h, start, captured, update_masks = split_inputs(rows, inputs)
    n, n_masks = len(start), len(update_masks)

    def step(zx_t: TensorVariable, *rest: TensorVariable) -> list[TensorVariable]:
        masks_t, state = rest[:n_masks], rest[n_masks : n_masks + n]
        W_h, *captured = rest[n_masks + n :]
        shape = (axis_length(zx_t, 0), axis_length(W_h, 0))  # (batch, n_hidden)
        zh_t = state[0] @ W_h
        parts = [zx_t + zh_t] if len(rows.gates) == 1 else [zx_t, zh_t]
        known = _known(rows, state, captured, masks_t, shape)
        for placeholders, part in zip(rows.gates, parts, strict=True):
            known |= zip(placeholders, _columns(part, len(placeholders), shape[1]), strict=True)
        new = graph_replace([*rows.new_states, *rows.saved_values], known, strict=False)
        new = [v.reshape(shape) for v in new]
        saved = [pt.concatenate(new[n:], axis=1)] if rows.saved else []
        return [*(keep_broadcastable(s, v) for s, v in zip(state, new, strict=False)), *saved]

    results = pytensor.scan(
        step,
        sequences=[zx, *update_masks],
        outputs_info=[*start, *([None] if rows.saved else [])],
        non_sequences=[W_h, *captured],
        strict=True,
        return_list=True,
        return_updates=False,
        name="forward",
    )
    states = results[:n]
    saved = results[n:] or [pt.zeros((zx.shape[0], zx.shape[1], 0), dtype=zx.dtype)]
    return [*states, *(s[-1] for s in states), *saved]


def backward_scan(
    rows: StepRows,
    inputs: Sequence[TensorVariable],
    outputs: Sequence[TensorVariable],
    d_final: Sequence[TensorVariable],
    d_h: TensorVariable | None,
    *,
    truncate_every: int | None,
) -> list[TensorVariable]:
    """Return the gradients of zx, W_h, the initial states, and captured numbers.

    `inputs` are those of `forward_scan`, `outputs` its outputs, and `d_final` and `d_h` the
    gradients of the final states and of h of all steps.
    """
    zx, W_h, start, captured, update_masks = split_inputs(rows, inputs)
    n, saved = len(start), outputs[-1]
    one = step_back(rows, from_outside=d_h is not None)
    before = [
        pt.concatenate([s[None], all_steps[:-1]])
        for s, all_steps in zip(start, outputs[:n], strict=True)
    ]  # each (time, batch, n_hidden)
    series = [*before, saved, *update_masks, *([] if d_h is None else [d_h])]
    n_sums = len(one.totals)

    def step(t: TensorVariable, *rest: TensorVariable) -> list[TensorVariable]:
        carried, (W_h, *rest_) = rest[: n + n_sums], rest[n + n_sums :]
        captured, series_ = rest_[: len(rows.captured)], rest_[len(rows.captured) :]
        at_t = [s[t] for s in series_]
        shape = (axis_length(carried[0], 0), axis_length(W_h, 0))  # (batch, n_hidden)
        state, saved_t, masks_t = at_t[:n], at_t[n], at_t[n + 1 : n + 1 + len(update_masks)]
        known = _known(rows, state, captured, masks_t, shape)
        known |= zip(rows.saved, _columns(saved_t, len(rows.saved), shape[1]), strict=True)
        known |= zip([*rows.d_states, *one.totals], (v.flatten() for v in carried), strict=True)
        if d_h is not None:
            known[one.d_h] = at_t[-1].flatten()
        through_h = one.d_old_states[0] is not None
        wanted = [v for part in one.d_gates for v in part]
        wanted += [*one.d_old_states[0 if through_h else 1 :], *one.new_totals]
        found = [v.reshape(shape) for v in graph_replace(wanted, known, strict=False)]
        d_z = []
        for part in one.d_gates:
            d_z.append(pt.concatenate(found[: len(part)], axis=1))
            found = found[len(part) :]
        d_state = d_z[-1] @ W_h.T
        new = [d_state + found.pop(0) if through_h else d_state, *found]
        if truncate_every is not None:
            cut = pt.eq(t % truncate_every, 0) & pt.gt(t, 0)
            new[:n] = [pt.switch(cut, pt.zeros_like(d), d) for d in new[:n]]
        return [*(keep_broadcastable(a, b) for a, b in zip(carried, new, strict=True)), *d_z]

    time = axis_length(zx, 0)
    results = pytensor.scan(
        step,
        sequences=[pt.arange(time - 1, -1, -1)],
        outputs_info=[
            *d_final,
            *(pt.zeros_like(start[0]) for _ in one.totals),
            *(None for _ in rows.gates),
        ],
        non_sequences=[W_h, *captured, *series],
        strict=True,
        return_list=True,
        return_updates=False,
        name="backward",
    )
    d_zx, d_zh = (results[k][::-1] for k in (-len(rows.gates), -1))
    n_hidden, width = axis_length(W_h, 0), axis_length(W_h, 1)
    d_W_h = before[0].reshape((-1, n_hidden)).T @ d_zh.reshape((-1, width))
    return [d_zx, d_W_h, *(d[-1] for d in results[: n + n_sums])]


def _known(
    rows: StepRows,
    state: Sequence[TensorVariable],
    captured: Sequence[TensorVariable],
    masks: Sequence[TensorVariable],
    shape: tuple[Any, Any],
) -> dict[Any, Any]:
    """What the placeholders of a step stand for, but for gates."""
    masks = [pt.broadcast_to(m, shape) for m in masks]
    placeholders = [*rows.states, *rows.captured, *rows.update_masks]
    values = [v.flatten() for v in [*state, *captured, *masks]]
    return dict(zip(placeholders, values, strict=True))


def _columns(z: TensorVariable, n: int, n_hidden: Any) -> list[TensorVariable]:
    """The rows of numbers that are in ``(batch, n * n_hidden)``."""
    return [z[:, k * n_hidden : (k + 1) * n_hidden].flatten() for k in range(n)]


def is_connected(gradient: Any) -> bool:
    """Whether there is a gradient, not only PyTensor's sign that there is none."""
    return not isinstance(gradient.type, DisconnectedType)
