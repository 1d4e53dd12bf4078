"""Backpropagation through time, made fast: a recurrent layer's loop and its custom backward pass.

`pytensor.grad` can differentiate any scan. For a recurrent layer one can do better with what one
knows of it (Werbos, 1990; the products are taken out of the loop as in Appleyard et al., 2016).
With ``z_t = zx_t + h_{t-1} W_h`` and ``state_t = step(z_t, state_{t-1})``,

- the gradient of ``zx_t`` is ``dz_t``, the gradient of the sum;
- that of ``W_h`` is ``sum_t h_{t-1}^T dz_t``: ONE product of long matrices after the loop;
- inside the backward scan there is one product, ``dh_{t-1} = dz_t W_h^T``; the rest is elementwise:
  PyTensor derives it from the cell's own step, once, on a single row;
- values that are expensive to compute (tanh, sigmoid, ...) are saved by the forward scan.

The arrays inside both scans lie feature-major: a state ``(batch, n_hidden)`` is a row of
``n_hidden * batch`` numbers, and the gates are the rows of a matrix. So each gate is contiguous,
and a step's elementwise part is one loop over all of them (`symrnn.kernels.fusion.fuse`).

In the graph that a user builds, a `Recurrence` stands for the forward scan, which `_forward` makes
when a function is compiled. Its gradient is the backward scan, made by `_backward`. Both work with
what `symrnn.kernels.step_rows.step_rows` has found out about the cell's step.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import pytensor
import pytensor.tensor as pt
from pytensor.compile.ops import DeepCopyOp
from pytensor.gradient import DisconnectedType, disconnected_type
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.graph.replace import graph_replace
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.graph.traversal import ancestors
from pytensor.tensor.variable import TensorVariable

from symrnn.compiling.shapes import axis_length, keep_broadcastable
from symrnn.kernels.fusion import fuse
from symrnn.kernels.step_rows import StepRows

Plain = Callable[..., tuple[TensorVariable, list[TensorVariable]]]

materialise = DeepCopyOp()  # a real copy with a plain memory layout; x.copy() is rewritten away


def recurrence(
    rows: StepRows,
    zx: TensorVariable,
    W_h: TensorVariable,
    start: Sequence[TensorVariable],
    update_masks: Sequence[TensorVariable],
    truncate_every: int | None,
    plain: Plain | None = None,
) -> tuple[TensorVariable, list[TensorVariable]]:
    """Return h of all steps, and the final states, with a fast gradient.

    The first has shape ``(time, batch, n_hidden)``, each final state ``(batch, n_hidden)``.

    Parameters
    ----------
    rows
        The step, from `step_rows`.
    zx
        ``x_t W_x + b``, shape ``(time, batch, n_gates * n_hidden)``.
    W_h
        Shape ``(n_hidden, n_gates * n_hidden)``.
    start
        Initial states, each ``(batch, n_hidden)``.
    update_masks
        Which entries of a state a step may change, ``(time, batch, n_hidden or 1)``, bool.
    truncate_every
        The gradient of the states stops after every so many steps.
    plain
        Returns the same results by a readable scan, given `zx`, `W_h`, `start` and `update_masks`.
    """
    shape = (axis_length(W_h, 0), axis_length(zx, 1))  # (n_hidden, batch): how a row is to be read
    captured = [pt.broadcast_to(v.T, shape).flatten() for v in rows.captured_values]
    inputs = [zx, W_h, *start, *captured, *update_masks]
    h, *others = Recurrence(rows, truncate_every=truncate_every, plain=plain)(*inputs)
    return h, others[: len(start)]


class Recurrence(Op):
    """A recurrent layer's loop: stands for a scan until a function is compiled.

    Inputs are those of `recurrence`. Outputs are h of all steps, the final states, and, for the
    backward pass, the states of all steps and the saved values.

    Parameters
    ----------
    rows, truncate_every, plain
        The arguments of `recurrence`.
    """

    def __init__(self, rows: StepRows, *, truncate_every: int | None, plain: Plain | None) -> None:
        self.rows, self.truncate_every, self._plain = rows, truncate_every, plain
        self._module = getattr(plain, "__module__", None)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plain": None}  # it holds the cell, which may be of any class

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._module is not None:
            import_module(self._module)  # which registers the rewrites, also in a new process

    def plain(self, inputs: Sequence[TensorVariable]) -> list[TensorVariable]:
        """Return h of all steps and the final states, by the readable scan."""
        if self._plain is None:
            return self.scan(inputs)[: 1 + len(self.rows.states)]
        zx, W_h, start, _, update_masks = _split(self.rows, inputs)
        h, final = self._plain(zx, W_h, start, update_masks)
        return [h, *final]

    def scan(self, inputs: Sequence[TensorVariable]) -> list[TensorVariable]:
        """Return the outputs as those of an ordinary scan."""
        return _isolated(lambda alone: _forward(self.rows, alone), inputs)

    def make_node(self, *inputs: TensorVariable) -> Apply[Any]:
        """Node with the outputs of `scan`."""
        alike = self.scan([v.type() for v in inputs])
        return Apply(self, list(inputs), [v.type() for v in alike])

    def perform(self, node: Apply[Any], inputs: Sequence[Any], storage: Any) -> None:
        """Compute the outputs by `scan`, where no rewrite has replaced the node by it."""
        arguments = [v.type() for v in node.inputs]
        function = pytensor.function(arguments, self.scan(arguments), mode="FAST_COMPILE")
        for cell, value in zip(storage, function(*inputs), strict=True):
            cell[0] = value

    def connection_pattern(self, node: Apply[Any]) -> list[list[bool]]:
        """All outputs depend on all inputs, but for boolean ones there is no gradient."""
        return [[v.type.dtype != "bool"] * len(node.outputs) for v in node.inputs]

    def pullback(self, inputs: Any, outputs: Any, gradients: Any) -> list[Any]:
        """Gradients with respect to the inputs, by the backward scan."""
        n, m, arriving = len(inputs), len(outputs), [d for d in gradients if _connected(d)]

        def build(alone: Sequence[TensorVariable]) -> list[Any]:
            left = iter(alone[n + m :])
            ds = [next(left) if _connected(d) else d for d in gradients]
            return _backward(
                self.rows, alone[:n], alone[n : n + m], ds, truncate_every=self.truncate_every
            )

        results = _isolated(build, [*inputs, *outputs, *arriving])
        return [*results, *(disconnected_type() for _ in inputs[len(results) :])]


class FirstDerivative(Op):
    """Identity, for the gradient of a truncated recurrence: it has no derivative.

    What the truncation has cut off is still among the arrays that the gradient is computed from, so
    its derivative by `pytensor.grad` would be wrong.
    """

    view_map: ClassVar[dict[int, list[int]]] = {0: [0]}

    def make_node(self, d: TensorVariable) -> Apply[Any]:
        """Node with an output like `d`."""
        return Apply(self, [d], [d.type()])

    def perform(self, node: Apply[Any], inputs: Sequence[Any], storage: Any) -> None:
        """Return the value as it is."""
        storage[0][0] = inputs[0]

    def pullback(self, *args: Any) -> list[Any]:
        """Not available."""
        raise NotImplementedError(
            "no second derivatives with truncate_every: use unroll(..., implementation='scan')"
        )


@node_rewriter([FirstDerivative])
def remove_first_derivative(fgraph: Any, node: Apply[Any]) -> list[TensorVariable]:
    """Remove it when a function is compiled."""
    return [node.inputs[0]]


@node_rewriter([Recurrence])
def recurrence_to_scan(fgraph: Any, node: Apply[Any]) -> list[TensorVariable]:
    """Replace a `Recurrence` by a new copy of its scan, which the compiled function may change."""
    return list(node.op.scan(node.inputs))


def _isolated(
    build: Callable[[Sequence[TensorVariable]], list[Any]], inputs: Sequence[TensorVariable]
) -> list[Any]:
    """Build a graph on variables like the inputs, and replace these by the inputs afterwards.

    The result is that of ``build(inputs)``. But where scan allocates arrays, PyTensor searches all
    that the inputs were computed from for known shapes: in a net of several layers this would take
    much longer than all else.
    """
    alone = [v.type() for v in inputs]
    given = dict(zip(alone, inputs, strict=True))
    return list(graph_replace(build(alone), given, strict=False))


def _split(rows: StepRows, inputs: Sequence[Any]) -> tuple[Any, ...]:
    """The inputs of a `Recurrence`: zx, W_h, start, captured, update_masks."""
    zx, W_h, *rest = inputs
    n_states, n_captured = len(rows.states), len(rows.captured)
    return (
        zx,
        W_h,
        rest[:n_states],
        rest[n_states : n_states + n_captured],
        rest[n_states + n_captured :],
    )


def _forward(
    rows: StepRows, inputs: Sequence[TensorVariable], copy: Callable[[Any], Any] = materialise
) -> list[TensorVariable]:
    """H of all steps, final states, then for the backward pass: all states, saved values.

    Shapes: h ``(time, batch, n_hidden)``, final states ``(batch, n_hidden)``, states of all steps
    ``(time, n_hidden * batch)``, saved values ``(time, n_saved, n_hidden * batch)``.
    """
    zx, W_h, start, captured, update_masks = _split(rows, inputs)
    n_states = len(rows.states)
    n_zx, n_zh = len(rows.gates[0]), len(rows.gates[-1])
    gates = [pt.tensor("z", dtype=zx.dtype, shape=(n, None)) for n in (n_zx, n_zh)]
    if len(rows.gates) == 1:  # z = zx + zh
        values = [gates[0][k] + gates[1][k] for k in range(n_zx)]
    else:
        values = [part[k] for part, n in zip(gates, (n_zx, n_zh), strict=True) for k in range(n)]
    results = [*rows.new_states, *([pt.stack(rows.saved_values)] if rows.saved else [])]
    all_gates = [gate for part in rows.gates for gate in part]
    results = graph_replace(results, dict(zip(all_gates, values, strict=True)), strict=False)

    def step(zx_t: TensorVariable, *rest: TensorVariable) -> list[TensorVariable]:
        masks_t, rest = rest[: len(update_masks)], rest[len(update_masks) :]
        state, (W_h_T, *captured) = rest[:n_states], rest[n_states:]  # each (n_hidden * batch,)
        n_hidden, batch = axis_length(W_h_T, 1), axis_length(zx_t, 0)
        zh_t = W_h_T @ state[0].reshape((n_hidden, batch))  # (n_zh * n_hidden, batch)
        n = n_hidden * batch
        new = fuse(
            [*gates, *rows.states, *rows.captured, *rows.update_masks],
            results,
            [
                zx_t.T.reshape((n_zx, n)),
                zh_t.reshape((n_zh, n)),
                *state,
                *captured,
                *(pt.broadcast_to(m.T, (n_hidden, batch)).flatten() for m in masks_t),  # (n,)
            ],
        )  # new states, each (n,); then saved values (n_saved, n)
        new_state = [keep_broadcastable(old, s) for old, s in zip(state, new, strict=False)]
        h_t = new[0].reshape((n_hidden, batch)).T  # (batch, n_hidden)
        return [*new_state, *new[n_states:], h_t]

    outputs = pytensor.scan(
        step,
        sequences=[zx, *update_masks],
        outputs_info=[s.T.flatten() for s in start] + [None] * (len(results) - n_states + 1),
        non_sequences=[copy(W_h.T), *captured],
        strict=True,
        return_list=True,
        return_updates=False,
        name="forward",
    )
    states, h = outputs[:n_states], outputs[-1]
    shape = (axis_length(W_h, 0), axis_length(zx, 1))  # (n_hidden, batch)
    final = [s[-1].reshape(shape).T for s in states]
    return [h, *final, *outputs[:-1]]


class _StepBack(NamedTuple):
    """One step of the backward scan: `results` as expressions of placeholders."""

    d_h: TensorVariable
    """The gradient of h from outside the loop; that from the next step is in `rows.d_states`."""
    saved: TensorVariable
    """The saved values, ``(n_saved, n_hidden * batch)``."""
    totals: list[TensorVariable]
    """Gradients of captured arrays, summed up over the steps so far."""
    results: list[TensorVariable]
    """Gradients of the gates (one array or two), of the old states, and the new totals."""
    through_h: bool
    """Whether the step uses the old h beside the product with W_h: then its gradient comes first
    among those of the old states, else it is not computed."""
    used: set[Any]
    """All that the results depend on."""


def _step_back(rows: StepRows, *, from_outside: bool) -> _StepBack:
    """Put together what one step of the backward scan computes elementwise."""
    dtype = rows.d_states[0].dtype
    d_h, saved = rows.d_states[0].type("d_h"), pt.matrix("saved", dtype=dtype)
    totals = [d.type() for d in rows.d_captured]
    through_h = rows.states[0] in ancestors(rows.new_states)
    results = [pt.stack(part) for part in rows.d_gates]
    results += rows.d_old_states if through_h else rows.d_old_states[1:]
    results += [total + d for total, d in zip(totals, rows.d_captured, strict=True)]
    meaning = {v: saved[k] for k, v in enumerate(rows.saved)}
    if from_outside:
        meaning[rows.d_states[0]] = rows.d_states[0] + d_h
    results = graph_replace(results, meaning, strict=False)
    return _StepBack(d_h, saved, totals, results, through_h, set(ancestors(results)))


def _backward(
    rows: StepRows,
    inputs: Sequence[TensorVariable],
    outputs: Sequence[TensorVariable],
    gradients: Sequence[Any],
    *,
    truncate_every: int | None,
) -> list[Any]:
    """Gradients with respect to the inputs of the recurrence, but for those that are boolean.

    `outputs` are those of `_forward`, and `gradients` the ones with respect to them.
    """
    zx, W_h, start, captured, update_masks = _split(rows, inputs)
    n_states = len(rows.states)
    (h, *_), states = outputs[: 1 + n_states], outputs[1 + n_states : 1 + 2 * n_states]
    saved = outputs[1 + 2 * n_states :]
    d_h, d_final, d_kept = (
        gradients[0],  # (time, batch, n_hidden)
        gradients[1 : 1 + n_states],  # each (batch, n_hidden)
        gradients[1 + n_states :],
    )
    if any(_connected(d) for d in d_kept):  # a gradient of the gradient is asked for
        return _differentiate(rows, inputs, gradients)
    time, batch, n_hidden = axis_length(zx, 0), axis_length(zx, 1), axis_length(W_h, 0)
    one = _step_back(rows, from_outside=_connected(d_h))
    before = {  # the states before each step, where the gradient needs them
        v: pt.concatenate([s.T.reshape((1, n_hidden * batch)), all_steps])  # (time + 1, n)
        for v, s, all_steps in zip(rows.states, start, states, strict=True)
        if v in one.used
    }
    captured_used = [v for v in rows.captured if v in one.used]
    series = [d_h, *saved] if _connected(d_h) else list(saved)

    def step(k: TensorVariable, *rest: TensorVariable) -> list[TensorVariable]:
        remaining = iter(rest)

        def take(n: int) -> list[TensorVariable]:
            return [next(remaining) for _ in range(n)]

        d_states, totals, (W_h,) = take(n_states), take(len(one.totals)), take(1)
        series_t = [s[k] for s in take(len(series))]
        before_t, captured = [s[k] for s in take(len(before))], take(len(captured_used))
        masks_t = [m[k] for m in take(len(update_masks))]
        n_hidden = axis_length(W_h, 0)
        batch = axis_length(d_states[0], 0) // n_hidden
        known = dict(zip(rows.d_states, d_states, strict=True))  # placeholders: values
        if _connected(d_h):
            known[one.d_h] = series_t.pop(0).T.flatten()  # (n_hidden * batch,)
        if saved:
            known[one.saved] = series_t.pop(0)  # (n_saved, n_hidden * batch)
        known |= dict(zip(before, before_t, strict=True))
        known |= dict(zip(captured_used, captured, strict=True))
        for placeholder, m in zip(rows.update_masks, masks_t, strict=True):
            known[placeholder] = pt.broadcast_to(m.T, (n_hidden, batch)).flatten()
        known |= dict(zip(one.totals, totals, strict=True))
        new = fuse(list(known), one.results, list(known.values()))
        d_z = [new.pop(0).reshape((len(part) * n_hidden, batch)) for part in rows.gates]
        d_state = (W_h @ d_z[-1]).flatten()  # (n_hidden * batch,)
        d_before = [d_state + new.pop(0) if one.through_h else d_state]
        d_before += [new.pop(0) for _ in range(n_states - 1)]
        if truncate_every is not None:
            cut = pt.eq(k % truncate_every, 0) & pt.gt(k, 0)
            d_before = [pt.switch(cut, pt.zeros_like(d), d) for d in d_before]
        carried = zip([*d_states, *totals], [*d_before, *new], strict=True)
        return [
            *(keep_broadcastable(old, s) for old, s in carried),
            *(d.T for d in d_z),  # (batch, n_gates * n_hidden)
        ]

    no_gradient = pt.zeros((n_hidden * batch,), dtype=zx.dtype)
    arriving = [d.T.flatten() if _connected(d) else no_gradient for d in d_final]
    back = pytensor.scan(
        step,
        sequences=[pt.arange(time - 1, -1, -1)],
        outputs_info=[*arriving, *(no_gradient for _ in one.totals)] + [None] * len(rows.gates),
        non_sequences=[
            *(W_h, *series, *before.values()),
            *(v for v, p in zip(captured, rows.captured, strict=True) if p in one.used),
            *update_masks,
        ],
        strict=True,
        return_list=True,
        return_updates=False,
        name="backward",
    )
    # The backward scan returns the last step first. Reversing h is less work than reversing d_zh,
    # which has as many numbers for each gate, and the order of the terms of a sum does not matter.
    d_zx, d_zh = back[-len(rows.gates)], back[-1]  # (time, batch, n_gates * n_hidden)
    h_before = pt.concatenate([h[:-1][::-1], start[0][None]])  # (time, batch, n_hidden)
    d_W_h = h_before.reshape((time * batch, n_hidden)).T @ d_zh.reshape(
        (time * batch, axis_length(W_h, 1))
    )
    d_start = [d[-1].reshape((n_hidden, batch)).T for d in back[:n_states]]  # (batch, n_hidden)
    d_captured = [d[-1] for d in back[n_states : n_states + len(one.totals)]]
    results = [d_zx[::-1], d_W_h, *d_start, *d_captured]
    if truncate_every is not None:
        results = [FirstDerivative()(d) for d in results]
    return results


def _differentiate(
    rows: StepRows, inputs: Sequence[TensorVariable], gradients: Sequence[Any]
) -> list[Any]:
    """Gradients by `pytensor.grad`, for second derivatives."""
    pairs = zip(_forward(rows, inputs, copy=lambda x: x), gradients, strict=True)
    cost = sum((output * d).sum() for output, d in pairs if _connected(d))
    numbers = [v for v in inputs if v.type.dtype != "bool"]
    derivatives = pytensor.grad(
        cost,
        numbers,
        consider_constant=[d for d in gradients if _connected(d)],
        disconnected_inputs="ignore",
    )
    return list(derivatives)


def _connected(gradient: Any) -> bool:
    """Whether there is a gradient, not only the sign of PyTensor that there is none."""
    return not isinstance(gradient.type, DisconnectedType)
